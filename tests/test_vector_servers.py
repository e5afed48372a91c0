"""Qdrant (its own embedded form) and pgvector (a real PostgreSQL) hold an index's vectors, and find what FAISS does."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from metier.core.errors import ConfigError, KnowledgeError, MissingExtra, install_line
from metier.core.onnx_embedder import OnnxEmbedder
from metier.specialists.card import KnowledgeCard
from metier.specialists.knowledge import Knowledge

PLANT = Path(__file__).parent.parent / "examples" / "plant"
QUESTIONS = (
    "How often is the carousel bearing greased?",
    "What does the alarm E12 mean?",
    "Who may open the safety guard?",
    "bearing temperature limit",
    "How long is the warranty?",
    "Welche Temperatur darf das Lager haben?",
    "lockout before maintenance",
    "When is the filler cleaned?",
)


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> Path:
    """Some manuals of the example plant, and one that changes."""
    folder = tmp_path_factory.mktemp("documents")
    for number, path in enumerate(sorted(PLANT.rglob("*.md"))[:5]):
        (folder / f"{number}-{path.name}").write_text(path.read_text())
    return folder


@pytest.fixture(params=["qdrant", "pgvector", "pgvector-hnsw"])
def backend(request, tmp_path) -> dict[str, Any]:
    """The part of a card."""
    if request.param == "qdrant":
        pytest.importorskip("llama_index.vector_stores.qdrant")
        return {"backend": "qdrant", "backend_options": {"collection": "plant", "path": str(tmp_path / "qdrant")}}
    pytest.importorskip("llama_index.vector_stores.postgres")
    options: dict[str, Any] = {"table": "plant", "url": request.getfixturevalue("postgres").database()}
    if request.param == "pgvector-hnsw":
        options["hnsw"] = {"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 60}
    return {"backend": "pgvector", "backend_options": options}


def found(knowledge: Knowledge) -> list[list[str]]:
    return [[passage.id for passage in knowledge.search(question, 5)] for question in QUESTIONS]


def test_the_same_passages_as_faiss_also_after_a_change(backend, documents, embedder: OnnxEmbedder, tmp_path):
    card = KnowledgeCard(**backend)

    def build(name: str, card: KnowledgeCard) -> Knowledge:
        return Knowledge.build([documents], tmp_path / name, embedder, card)

    note = documents / "note.md"
    note.write_text("# News\n\nThe canteen opens at eleven from Monday on.\n")
    with closing(build("faiss", KnowledgeCard())) as faiss, closing(build("served", card)) as served:
        assert found(served) == found(faiss)
        before = served.search("When does the canteen open?", 1)[0]
        assert "eleven" in before.text
    note.write_text("# News\n\nThe canteen opens at noon from Tuesday on.\n")
    with closing(build("faiss", KnowledgeCard())) as faiss, closing(build("served", card)) as served:
        assert found(served) == found(faiss)
        assert "noon" in served.search("When does the canteen open?", 1)[0].text
    with closing(Knowledge.open(tmp_path / "served", embedder)) as again:
        assert "noon" in again.search("When does the canteen open?", 1)[0].text
        assert [p.id for p in again.search("the canteen opens at eleven", 9) if "eleven" in p.text] == []


@pytest.mark.parametrize(
    ("backend", "options", "error", "words"),
    [
        ("qdrant", {"url": "http://x"}, ConfigError, "collection"),
        ("qdrant", {"collection": "c"}, ConfigError, "absolute `path`"),
        ("qdrant", {"collection": "c", "path": "x"}, ConfigError, "absolute `path`"),
        ("qdrant", {"collection": "c", "url": "http://127.0.0.1:9"}, KnowledgeError, "cannot be opened"),
        ("pgvector", {"table": "a-b", "url": "postgresql://x"}, ConfigError, "table"),
        ("pgvector", {"table": "t", "url": "mysql://x"}, ConfigError, "postgresql://"),
        ("pgvector", {"table": "t", "url": "env:NOT_SET"}, ConfigError, "NOT_SET"),
        (
            "pgvector",
            {"table": "t", "url": "postgresql://u@127.0.0.1:9/d"},
            KnowledgeError,
            "does not take the passages",
        ),
    ],
)
def test_wrong_options_are_said(backend, options, error, words, tmp_path, embedder):
    (tmp_path / "a.md").write_text("# A\n\nSomething.\n")
    card = KnowledgeCard(backend=backend, backend_options=options)
    with pytest.raises(error, match=words):
        Knowledge.build([tmp_path / "a.md"], tmp_path / "index", embedder, card)


def test_a_collection_of_another_embedder_is_not_used(tmp_path, embedder):
    from qdrant_client.models import Distance, VectorParams

    from metier.specialists.knowledge.qdrant import _qdrant

    place = tmp_path / "qdrant"
    _qdrant(None, None, place).create_collection("c", VectorParams(size=7, distance=Distance.COSINE))
    (tmp_path / "a.md").write_text("# A\n\nSomething.\n")
    card = KnowledgeCard(backend="qdrant", backend_options={"collection": "c", "path": str(place)})
    with pytest.raises(KnowledgeError, match="vectors of 7 numbers, the embedder's have 384"):
        Knowledge.build([tmp_path / "a.md"], tmp_path / "index", embedder, card)


@pytest.mark.parametrize(("name", "package"), [("qdrant", "qdrant"), ("pgvector", "postgres")])
def test_a_missing_library_names_its_extra(name, package, tmp_path, embedder, monkeypatch):
    monkeypatch.setitem(sys.modules, f"llama_index.vector_stores.{package}", None)
    monkeypatch.delitem(sys.modules, f"metier.specialists.knowledge.{name}", raising=False)
    (tmp_path / "a.md").write_text("# A\n\nSomething.\n")
    with pytest.raises(MissingExtra, match=re.escape(install_line(name))):
        Knowledge.build([tmp_path / "a.md"], tmp_path / "index", embedder, KnowledgeCard(backend=name))
