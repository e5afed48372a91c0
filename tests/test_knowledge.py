"""The index of a specialist: search, updates, damage, back-ends."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metier.core.embedding import Vectors
from metier.core.errors import ConfigError, KnowledgeError
from metier.specialists.card import KnowledgeCard
from metier.specialists.knowledge import Knowledge

SIMPLE = "llama_index.core.vector_stores:SimpleVectorStore"


class WordEmbedder:
    """Each word has a fixed random direction, a text is their sum: similar words, similar vectors. Counts its work."""

    name = "words"
    dimension = 64

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        rows = np.array([sum(map(self._word, re.findall(r"\w+", t.lower())), np.full(64, 1e-3)) for t in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _word(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        return np.random.default_rng(seed).standard_normal(64)


@pytest.fixture
def words():
    return WordEmbedder()


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    put(folder / "pump.md", "# Pump manual\n\n## Bearings\n\nGrease the bearings of P-101 every 500 hours.\n")
    put(folder / "safety/rules.txt", "Wear gloves near the saw.\n\nThe work order (WO) must be signed.")
    put(folder / "codes.csv", "code,meaning\nE1,overheat\nE2,low oil\n")
    return folder


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def built(docs: Path, embedder, **card) -> Knowledge:
    return Knowledge.build([docs], docs.parent / "store", embedder, KnowledgeCard(**card))


def first(knowledge: Knowledge, query: str) -> str:
    return knowledge.search(query, 1)[0].source


# Searching


def test_finds_by_meaning_and_by_identifier(docs, embedder):
    knowledge = built(docs, embedder)
    assert first(knowledge, "How often must the ball race be lubricated?") == "pump.md"
    assert first(knowledge, "protect my hands") == "safety/rules.txt"
    assert knowledge.search("what does E2 mean", 1)[0].text == "code: E2; meaning: low oil"
    for query in ("P-101", "p101", "P 101"):
        assert first(knowledge, query) == "pump.md"


def test_passages_say_where_they_stand(docs, words):
    knowledge = built(docs, words)
    passage = knowledge.search("grease bearings", 1)[0]
    assert (passage.heading, passage.id) == (("Pump manual", "Bearings"), "pump.md#0")
    assert knowledge.text(passage.source)[passage.start : passage.end] == passage.text
    assert knowledge.passage(passage.id).text == passage.text
    assert set(passage.signals) == {"dense", "bm25"}
    assert -1.01 <= passage.signals["dense"] <= 1.01
    with pytest.raises(KnowledgeError, match=r"nope\.md"):
        knowledge.text("nope.md")
    with pytest.raises(KnowledgeError, match=r"pump\.md#9"):
        knowledge.passage("pump.md#9")


def test_documents_are_listed(docs, words):
    listed = {d.source: (d.title, d.passages) for d in built(docs, words).documents()}
    assert listed == {
        "codes.csv": ("codes", 2),
        "pump.md": ("Pump manual", 1),
        "safety/rules.txt": ("rules", 1),
    }


@pytest.mark.parametrize(
    "query", ["", "   ", "?!", "the of", "zzzz qqqq", "x" * 20_000, "Ünïcödé 漢字 \u2028 ' \" --", "\0"]
)
def test_any_question_is_survived(docs, words, query):
    found = built(docs, words).search(query, 50)
    assert len(found) <= 4
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)


def test_abbreviations_are_learnt_from_the_documents(docs, words):
    put(docs / "other.txt", "A WO stays open for ten days.")
    put(docs / "noise.txt", "Order the parts at work on Monday.")
    knowledge = built(docs, words)
    assert "other.txt" in [p.source for p in knowledge.search("how long is a work order open", 2)]
    assert "safety/rules.txt" in [p.source for p in knowledge.search("WO signed", 2)]


def test_threads_search_together(docs, words):
    knowledge = built(docs, words)
    queries = ["grease", "gloves", "overheat", "low oil"] * 10
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda q: first(knowledge, q), queries)) == [first(knowledge, q) for q in queries]


def test_empty_folder_is_an_empty_index(tmp_path, words):
    (tmp_path / "docs").mkdir()
    knowledge = built(tmp_path / "docs", words)
    assert (len(knowledge), knowledge.search("anything"), knowledge.documents()) == (0, [], [])


# Updating


def test_same_folder_twice_does_nothing(docs, words):
    built(docs, words)
    texts, before = len(words.texts), sorted((docs.parent / "store").rglob("*"))
    report = built(docs, words).report
    assert report is not None
    assert (report.added, report.changed, report.removed, report.unchanged, report.embedded) == ((), (), (), 3, 0)
    assert len(words.texts) == texts
    assert sorted((docs.parent / "store").rglob("*")) == before


def test_only_what_changed_is_embedded(docs, words):
    built(docs, words)
    put(docs / "codes.csv", "code,meaning\nE1,overheat\nE2,no oil\nE3,stuck\n")
    (docs / "pump.md").unlink()
    put(docs / "new.txt", "Fresh news.")
    words.texts.clear()
    knowledge = built(docs, words)
    assert knowledge.report is not None
    assert (knowledge.report.added, knowledge.report.changed) == (("new.txt",), ("codes.csv",))
    assert (knowledge.report.removed, knowledge.report.unchanged) == (("pump.md",), 1)
    assert sorted(words.texts) == [
        "codes\ncode: E2; meaning: no oil",
        "codes\ncode: E3; meaning: stuck",
        "new\nFresh news.",
    ]
    assert "pump.md" not in {p.source for p in knowledge.search("grease bearings pump", 50)}
    assert first(knowledge, "E3 stuck") == "codes.csv"


def test_identical_files_are_indexed_once(docs, words):
    (docs / "archive").mkdir()
    for copy in ("archive/pump.md", "pump (copy).md"):
        (docs / copy).write_bytes((docs / "pump.md").read_bytes())
    report = built(docs, words).report
    assert report is not None
    assert report.skipped == dict.fromkeys(("archive/pump.md", "pump (copy).md"), "the same as pump.md")
    assert "archive/pump.md" not in report.added
    (docs / "pump.md").unlink()
    (docs / "archive/pump.md").unlink()
    knowledge = built(docs, words)
    assert {p.source for p in knowledge.search("grease bearings pump", 50)} >= {"pump (copy).md"}


def test_a_renamed_file_is_no_new_document(docs, words):
    built(docs, words)
    (docs / "pump.md").rename(docs / "pump-2.md")
    words.texts.clear()
    knowledge = built(docs, words)
    report = knowledge.report
    assert report is not None
    assert (report.added, report.changed, report.removed) == ((), (), ())
    assert report.renamed == {"pump-2.md": "pump.md"}
    assert (report.embedded, words.texts) == (0, [])
    assert first(knowledge, "grease bearings pump") == "pump-2.md"


def test_what_is_left_out_of_a_document_is_in_the_report(docs, words):
    put(docs / "log.jsonl", '{"text": "one"}\n{"text": \n{"text": "three"}\n')
    for _ in range(2):  # also when nothing changed
        report = built(docs, words).report
        assert report is not None
        assert [(source, "line 2" in notes[0]) for source, notes in report.notes.items()] == [("log.jsonl", True)]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a.txt", "b.md", "sub/c.txt"]), st.sampled_from(["red", "blue", "green sky"])),
        min_size=1,
        max_size=4,
    )
)
@example([{"sub/c.txt": "blue"}, {"a.txt": "blue", "sub/c.txt": "blue"}])
def test_updates_end_where_a_fresh_build_does(tmp_path_factory, states):
    folder, words = tmp_path_factory.mktemp("state"), WordEmbedder()
    docs = folder / "docs"
    docs.mkdir()
    knowledge = built(docs, words)
    for state in states:
        for path in list(docs.rglob("*.*")):
            path.unlink()
        for name, text in state.items():
            put(docs / name, text)
        knowledge = built(docs, words)
    fresh = Knowledge.build([docs], folder / "fresh", words)
    assert knowledge.documents() == fresh.documents()
    for query in ("red", "blue sky", "c"):
        scores = [{p.id: p.score for p in index.search(query, 9)} for index in (knowledge, fresh)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_the_index_of_an_older_metier_opens_and_its_documents_are_read_anew_when_it_is_built(tmp_path, embedder):
    """tests/data/old/README.md says what is in it, and how it was made."""
    old = Path(__file__).parent / "data/old"
    store = shutil.copytree(old / "knowledge", tmp_path / "store")
    knowledge = Knowledge.open(store, embedder)
    bolts, belt = knowledge.search("How tight are the bolts?", 2)
    assert (bolts.id, belt.id) == ("pump.md#0", "belt.txt#0")
    assert bolts.text == "Tighten the flange bolts to 45 Nm.\n\nClose the work order (WO) when the pump runs."
    assert bolts.heading == ("Pump P-101",)
    assert bolts.score == pytest.approx(0.2717, abs=0.02)
    assert belt.score == pytest.approx(0.0071, abs=0.02)
    assert first(knowledge, "Who closes the WO?") == "pump.md"
    knowledge.close()

    report = Knowledge.build([old / "manuals"], store, embedder).report
    assert report is not None
    assert (report.unchanged, report.embedded) == (0, 2), "documents are read better than by that version"


def test_another_card_or_embedder_builds_anew(docs, words):
    built(docs, words)
    built(docs, words, passage_tokens=32)
    assert len(words.texts) == 8
    other = WordEmbedder()
    other.name = "other"
    with pytest.raises(KnowledgeError, match=r"'words'.*'other'"):
        Knowledge.open(docs.parent / "store", other)
    assert len(built(docs, other)) == 4


def test_an_open_index_survives_the_update(docs, words):
    opened = built(docs, words)
    (docs / "pump.md").unlink()
    built(docs, words)
    assert first(opened, "grease bearings") == "pump.md"
    assert opened.text("pump.md").startswith("Pump manual")


def test_unreadable_documents_are_reported(docs, words):
    put(docs / "broken.pdf", "no pdf")
    put(docs / "photo.png", "no text")
    knowledge = built(docs, words)
    assert knowledge.report is not None
    assert set(knowledge.report.skipped) == {"broken.pdf", "photo.png"}
    assert "damaged" in knowledge.report.skipped["broken.pdf"]
    again = built(docs, words).report
    assert again is not None
    assert again.skipped == knowledge.report.skipped


def test_nothing_readable_is_an_error_and_forgets_what_was_removed(docs, words):
    built(docs, words)
    for path in list(docs.rglob("*.*")):
        path.unlink()
    put(docs / "broken.pdf", "no pdf")
    with pytest.raises(KnowledgeError, match=r"none of the 1 documents.*broken\.pdf"):
        built(docs, words)
    assert len(Knowledge.open(docs.parent / "store", words)) == 0
    with pytest.raises(KnowledgeError, match="no such document"):
        Knowledge.build([docs / "nowhere"], docs.parent / "store", words)


# Damage


def test_open_needs_an_index(tmp_path, words):
    with pytest.raises(KnowledgeError, match="no index") as caught:
        Knowledge.open(tmp_path / "store", words)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["passages.sqlite", "rows.npy", "vectors.faiss", "bm25/params.index.json"])
@pytest.mark.parametrize("damage", ["gone", "rubbish", "empty"])
def test_damaged_files_are_noticed_and_mended(docs, words, name, damage):
    built(docs, words)
    store = docs.parent / "store"
    file = next(store.glob(f"g*/{name}"))
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"rubbish" * 50 if damage == "rubbish" else b"")
    with pytest.raises(KnowledgeError, match="damaged") as caught:
        Knowledge.open(store, words)
    assert caught.value.hint == "metier build"
    assert first(built(docs, words), "grease bearings") == "pump.md"


KILLED = """
import os, resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_knowledge import WordEmbedder
from metier.core.errors import KnowledgeError
from metier.specialists.knowledge import Knowledge

class Fatal(WordEmbedder):
    def embed(self, texts):
        if len(self.texts) > 200:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(texts)

if sys.argv[1] == "kill":
    Knowledge.build([Path({docs!r})], Path({store!r}), Fatal())
else:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
    try:
        Knowledge.build([Path({docs!r})], Path({store!r}), WordEmbedder())
    except KnowledgeError as error:
        sys.exit(error.message)
"""


def in_another_process(docs: Path, way: str) -> subprocess.CompletedProcess[str]:
    code = KILLED.format(tests=str(Path(__file__).parent), docs=str(docs), store=str(docs.parent / "store"))
    return subprocess.run([sys.executable, "-c", code, way], capture_output=True, text=True, check=False)


@pytest.fixture
def many(docs, words):
    """An index, and then so many more documents that they are embedded in several batches."""
    built(docs, words)
    for number in range(600):
        put(docs / f"more/{number:03d}.txt", f"Machine {number} stands in hall {number % 7}.")
    words.texts.clear()
    return docs


def test_killed_build_leaves_the_old_index_and_goes_on_later(many, words):
    assert in_another_process(many, "kill").returncode == -signal.SIGKILL
    assert first(Knowledge.open(many.parent / "store", words), "grease bearings") == "pump.md"
    knowledge = built(many, words)
    assert len(knowledge) == 604
    assert 0 < len(words.texts) < 500
    assert first(knowledge, "machine 412") == "more/412.txt"


def test_full_disk_leaves_the_old_index(many, words):
    done = in_another_process(many, "full")
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert len(Knowledge.open(many.parent / "store", words)) == 4
    assert len(built(many, words)) == 604


def test_one_builder_at_a_time(docs, words):
    built(docs, words)
    put(docs / "new.txt", "x")
    with FileLock(docs.parent / "store" / "lock"), pytest.raises(KnowledgeError, match="another process"):
        built(docs, words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(docs, words):
    built(docs, words)
    put(docs / "new.txt", "x")
    (docs.parent / "store").chmod(0o500)
    with pytest.raises(KnowledgeError, match="could not be written"):
        built(docs, words)
    assert first(Knowledge.open(docs.parent / "store", words), "grease bearings") == "pump.md"


# Back-ends


def test_llama_index_store_finds_the_same(docs, words):
    faiss = built(docs, words)
    simple = Knowledge.build([docs], docs.parent / "simple", words, KnowledgeCard(backend=SIMPLE))
    put(docs / "new.txt", "Fresh news about gloves.")
    faiss, simple = (
        built(docs, words),
        Knowledge.build([docs], docs.parent / "simple", words, KnowledgeCard(backend=SIMPLE)),
    )
    for query in ("grease", "gloves", "E2 oil", "fresh news"):
        assert [p.id for p in simple.search(query, 5)] == [p.id for p in faiss.search(query, 5)]


SERVER = """
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQueryResult
NODES = {}

class Server(BasePydanticVectorStore):
    '''Keeps what it is given in the process, as a database would on its disk; there is nothing before the first.'''

    stores_text: bool = True
    collection: str

    @property
    def client(self):
        return NODES

    def add(self, nodes, **kwargs):
        NODES.update({node.node_id: node for node in nodes})
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id, **kwargs):
        if not NODES:
            raise ValueError("no such collection")
        for node in [n for n in NODES.values() if n.ref_doc_id == ref_doc_id]:
            del NODES[node.node_id]

    def query(self, query, **kwargs):
        def score(node):
            return sum(a * b for a, b in zip(node.embedding, query.query_embedding))
        best = sorted(NODES.values(), key=score, reverse=True)[: query.similarity_top_k]
        return VectorStoreQueryResult(nodes=best, similarities=[score(n) for n in best])
"""


def test_server_stores_are_updated_in_place(docs, words, tmp_path, monkeypatch):
    put(tmp_path / "lib/my_vector_server.py", SERVER)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    card = {"backend": "my_vector_server:Server", "backend_options": {"collection": "pumps"}}
    old = built(docs, words, **card)
    put(docs / "codes.csv", "code,meaning\nE2,no oil\n")
    (docs / "pump.md").unlink()
    knowledge = built(docs, words, **card)
    nodes = sys.modules["my_vector_server"].NODES
    assert {node.text for node in nodes.values()} == {
        knowledge.passage(i).text for i in ("codes.csv#0", "safety/rules.txt#0")
    }
    assert first(knowledge, "E2 no oil") == "codes.csv"
    assert first(old, "gloves saw") == "safety/rules.txt"


@pytest.mark.parametrize("name", ["quadrant", "no_such_module_here:Store", "llama_index.core.vector_stores:Nope"])
def test_unknown_back_ends(docs, words, name):
    with pytest.raises(ConfigError, match="vector store"):
        built(docs, words, backend=name)


def test_wrong_options_of_a_back_end(docs, words):
    with pytest.raises(KnowledgeError, match="SimpleVectorStore cannot be opened with data"):
        built(docs, words, backend=SIMPLE, backend_options={"data": 3})


def test_a_back_end_may_lie_beside_the_team(docs, words, tmp_path):
    put(tmp_path / "team/own_vector_server.py", SERVER)
    card = KnowledgeCard(backend="own_vector_server:Server", backend_options={"collection": "pumps"})
    built_there = Knowledge.build([docs], docs.parent / "own", words, card, root=tmp_path / "team")
    assert first(built_there, "grease bearings") == first(built(docs, words), "grease bearings")
    opened = Knowledge.open(docs.parent / "own", words, root=tmp_path / "team")
    assert first(opened, "grease bearings") == first(built_there, "grease bearings")
    with pytest.raises(ConfigError, match="own_vector_server"):
        Knowledge.open(docs.parent / "own", words)


def test_a_back_end_that_refuses_says_why(docs, words, tmp_path, monkeypatch):
    full = SERVER.replace("NODES.update", "raise OSError('disk full'); NODES.update")
    put(tmp_path / "lib/my_full_server.py", full)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    with pytest.raises(KnowledgeError, match=r"Server does not take the passages of .*: disk full"):
        built(docs, words, backend="my_full_server:Server", backend_options={"collection": "pumps"})


def test_retrievers_of_both_libraries(docs, words):
    knowledge = built(docs, words)
    node = knowledge.as_retriever(1).retrieve("grease bearings")[0]
    document = knowledge.as_langchain(1).invoke("grease bearings")[0]
    assert node.text == document.page_content == knowledge.search("grease bearings", 1)[0].text
    assert node.metadata["source"] == document.metadata["source"] == "pump.md"


READER = """
from llama_index.core import Document
from llama_index.core.readers.base import BaseReader

class LineReader(BaseReader):
    def load_data(self, file, extra_info=None):
        if file.stat().st_size > 1000:
            raise KeyError("too much")
        return [Document(text=line) for line in file.read_text().splitlines()]
"""


def test_readers_of_llama_index_by_name(docs, words, tmp_path, monkeypatch):
    put(tmp_path / "lib/my_line_reader.py", READER)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    put(docs / "log.lines", "Line one.\nThe second line.")
    put(docs / "long.lines", "x" * 2000)
    knowledge = built(docs, words, readers={".lines": "my_line_reader:LineReader"})
    assert knowledge.report is not None
    assert knowledge.report.skipped == {"long.lines": "LineReader cannot read it: 'too much'"}
    assert [p.page for p in knowledge.search("second line", 1) if p.source == "log.lines"] == [1]
    with pytest.raises(ConfigError, match="unknown name in my_line_reader 'Nope'"):
        built(docs, words, readers={".x": "my_line_reader:Nope"})


def test_equal_passages_are_given_once(docs, words):
    put(docs / "copy/pump.md", (docs / "pump.md").read_text())
    found = built(docs, words).search("grease bearings", 4)
    assert len(found) == 4
    assert len({passage.text for passage in found}) == 4
