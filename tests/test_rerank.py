"""What a reranker says changes the order of what is found, for those who read it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from metier.agents.assemble import knowledge_folder, open_knowledge
from metier.agents.cards import Blueprint, TeamCard
from metier.agents.team import Team
from metier.core.e5_embedder import E5Embedder
from metier.core.embedding import Embedder, Vectors
from metier.core.models import ModelStore
from metier.core.onnx_embedder import OnnxEmbedder, load_embedder
from metier.core.types import Brief, Passage
from metier.memory.store import Owner
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.knowledge import Knowledge
from metier.specialists.knowledge.bridge import bridge
from metier.specialists.knowledge.knowledge import merged
from metier.specialists.specialist import Specialist
from metier.tests.bakery import CARE, CARE_QUOTE, GREASE, LEASE, LEASE_FILE, LEASE_QUOTE, open_bakery, script
from metier.tests.desk import served
from metier.tests.patience import PATIENCE


class Reading:
    """An embedder that compares as `says` does, and knows what was asked."""

    def __init__(self, embedder: OnnxEmbedder | E5Embedder, says: Callable[[str], float] = lambda text: 0.0) -> None:
        self.name, self.dimension = embedder.name, embedder.dimension
        self.says = says
        self.asked: list[tuple[str, list[str]]] = []
        self._embedder = embedder

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self._embedder.embed(texts)

    def has_word(self, word: str) -> bool:
        return self._embedder.has_word(word)

    def compare(self, question: str, passages: Sequence[str]) -> NDArray[np.float32]:
        self.asked.append((question, list(passages)))
        return np.array([self.says(text) for text in passages], dtype=np.float32)


PUMPS = [f"Pump {n} is greased every {n}00 hours by the fitter of hall {n}." for n in range(1, 16)]
QUESTION = "How often is a pump greased?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, embedder: OnnxEmbedder) -> Path:
    """Fifteen pumps alike, one of them twice; steps that are cut in two."""
    folder = tmp_path_factory.mktemp("pumps")
    (folder / "docs").mkdir()
    for n, text in enumerate([*PUMPS, PUMPS[0]], 1):
        (folder / "docs" / f"{n}.md").write_text(f"# Pumps\n\n## Care of number {n}\n\n{text}\n")
    steps = "\n".join(f"{n}. Turn the red wheel of the press by {n} notches until it clicks." for n in range(1, 8))
    (folder / "docs" / "press.md").write_text(f"# Press\n\nTo set the press:\n\n{steps}\n")
    Knowledge.build([folder / "docs"], folder / "index", embedder, KnowledgeCard(passage_tokens=48)).close()
    return folder


Opened = Callable[..., Knowledge]


@pytest.fixture
def opened(folder: Path) -> Iterator[Opened]:
    held: list[Knowledge] = []

    def open_one(embedder: Embedder, *, rerank: bool = True) -> Knowledge:
        held.append(Knowledge.open(folder / "index", embedder, rerank=rerank))
        return held[-1]

    yield open_one
    for knowledge in held:
        knowledge.close()


def number(text: str) -> int:
    return int(text.partition("Pump ")[2].split()[0])


# The order


def test_the_order_is_that_of_both_together(opened: Opened, embedder: OnnxEmbedder) -> None:
    reading = Reading(embedder, lambda text: number(text) / 20)
    before = {p.id: p for p in opened(embedder).search(QUESTION, 12)}
    found = opened(reading).search(QUESTION, 12)
    assert {p.id: p.score for p in found} == {name: p.score for name, p in before.items()}
    assert all(p.signals == {**before[p.id].signals, "rerank": np.float32(number(p.text) / 20)} for p in found)
    together = [p.score + 3 * p.signals["rerank"] for p in found]
    assert together == sorted(together, reverse=True)
    assert [p.id for p in found] != [*before]
    assert [p.score for p in found] != sorted((p.score for p in found), reverse=True)


def test_twelve_different_passages_are_read_with_the_titles_above_them(opened: Opened, embedder: OnnxEmbedder) -> None:
    misspelt = QUESTION.replace("greased", "greasd")
    ninth = opened(embedder).search(misspelt, 12)[8].text
    reading = Reading(embedder, lambda text: float(ninth in text))
    (best,) = opened(reading).search(misspelt, 1)
    assert best.text == ninth
    ((question, texts),) = reading.asked
    assert question == QUESTION, "as it was put right"
    assert len({*texts}) == len(texts) == 12
    assert f"Pumps: Care of number {number(ninth)}\n{ninth}" in texts


def test_who_asks_for_more_gets_the_rest_behind_them(opened: Opened, embedder: OnnxEmbedder) -> None:
    reading = Reading(embedder, lambda text: -3.0)
    plain, found = opened(embedder).search(QUESTION, 15), opened(reading).search(QUESTION, 15)
    assert [p.id for p in found] == [p.id for p in plain], "where all are as bad, nothing changes"
    assert ["rerank" in p.signals for p in found] == [True] * 12 + [False] * 3


def test_what_is_joined_keeps_what_was_said_of_the_passage(opened: Opened, embedder: OnnxEmbedder) -> None:
    reading = Reading(embedder, lambda text: 5.0 if "by 6 notches" in text else -5.0)
    found = opened(reading).search("How is the press set?", 12)
    best = found[0]
    assert "-" in best.id.rpartition("#")[2]
    assert "To set the press:" in best.text
    assert "by 6 notches" in best.text
    assert best.signals["rerank"] == 5.0
    assert found[-1].signals["rerank"] == -5.0


def passage(id: str, score: float, logit: float | None = None) -> Passage:
    return Passage(id=id, text=id, source=id, score=score, signals={} if logit is None else {"rerank": logit})


@pytest.mark.parametrize(
    ("lists", "ids"),
    [
        ([[passage("a", 0.1, 3), passage("b", 0.9, 1)], [passage("c", 0.2, 2), passage("d", 0.8)]], "acbd"),
        ([[passage("a", 0.1, 3), passage("b", 0.9, 1)], [passage("c", 0.5), passage("d", 0.2)]], "cdab"),
        ([[passage("a", 0.3)], [], [passage("b", 0.5)]], "ba"),
        ([], ""),
    ],
)
def test_lists_are_merged_and_each_keeps_its_order(lists: list[list[Passage]], ids: str) -> None:
    assert "".join(p.id for p in merged(*lists)) == ids


# Who has none


@pytest.mark.parametrize("way", ["card", "build", "search"])
def test_it_can_be_switched_off(opened: Opened, embedder: OnnxEmbedder, folder: Path, tmp_path: Path, way: str) -> None:
    reading = Reading(embedder, lambda text: number(text) / 20)
    if way == "build":
        card = KnowledgeCard(passage_tokens=48, rerank=False)
        knowledge = Knowledge.build([folder / "docs"], tmp_path / "index", reading, card)
    else:
        knowledge = opened(reading, rerank=way != "card")
    found = knowledge.search(QUESTION, 5, rerank=way != "search")
    assert found == opened(embedder).search(QUESTION, 5)
    assert reading.asked == []


def test_the_card_of_a_specialist_decides(folder: Path, embedder: OnnxEmbedder, tmp_path: Path) -> None:
    for rerank in (True, False):
        knowledge = KnowledgeCard(sources=[str(folder / "docs")], rerank=rerank)
        card = SpecialistCard(name="fitter", description="Knows the pumps.", knowledge=knowledge)
        plan = Blueprint.of(TeamCard(name="hall", specialists=["fitter"]), [card], tmp_path)
        Knowledge.build([folder / "docs"], knowledge_folder(plan, "fitter"), embedder, knowledge).close()
        reading = Reading(embedder)
        opened = open_knowledge(plan, "fitter", reading)
        assert ["rerank" in p.signals for p in opened.search(QUESTION, 2)] == [rerank] * 2
        assert len(reading.asked) == rerank
        opened.close()


@pytest.fixture(scope="module")
def e5(models: ModelStore) -> E5Embedder:
    embedder = load_embedder("multilingual-e5-small", models)
    assert isinstance(embedder, E5Embedder)
    return embedder


def test_an_embedder_that_cannot_does_without(opened: Opened, embedder: OnnxEmbedder) -> None:
    found = opened(embedder).search(QUESTION, 5)
    assert [{*p.signals} for p in found] == [{"dense", "bm25"}] * 5
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)


def test_threads_search_together(e5: E5Embedder, folder: Path, tmp_path: Path) -> None:
    knowledge = Knowledge.build([folder / "docs"], tmp_path / "index", e5)
    questions = [f"How often is pump {n} greased?" for n in range(1, 5)]
    with ThreadPoolExecutor(4) as threads:
        together = [*threads.map(knowledge.search, questions * 2)]
    assert together == [knowledge.search(question) for question in questions] * 2
    for found in together:
        order = [p.score + 3 * p.signals["rerank"] for p in found]
        assert order == sorted(order, reverse=True)


# Word by word


def test_the_nearest_word_of_a_passage_counts_for_each_word_of_the_question(e5: E5Embedder) -> None:
    question = "Who pays for a broken window?"
    passages = ["The landlord bears the cost of damaged panes.", "Trains leave at noon.", question]
    far, near, same = (e5.compare(question, passages)[[1, 0, 2]]).tolist()
    assert far < near < same <= 1.0001
    one_by_one = [e5.compare(question, [text])[0] for text in passages]
    assert e5.compare(question, passages) == pytest.approx(one_by_one, abs=0.02), "what stands beside it is no matter"


def test_what_has_no_words_is_far(e5: E5Embedder) -> None:
    assert e5.compare("Who pays?", []).shape == (0,)
    assert e5.compare("Who pays?", [""]).tolist() == [-1.0]
    long = e5.compare("who " * 2000, ["The landlord pays. " * 2000])
    assert 0 < long[0] <= 1.0001


# Who pays for it


def test_a_specialist_reads_in_that_order_with_files_of_the_conversation(
    opened: Opened, embedder: OnnxEmbedder
) -> None:
    card = SpecialistCard(name="fitter", description="Knows the pumps.", knowledge=KnowledgeCard(top_k=3))
    engine = ScriptedEngine(lambda messages: "not found")
    knowledge = opened(Reading(embedder, lambda text: {7: 4.0, 3: 2.0}.get(number(text), -4.0)))
    attached = passage("attached/a.md#0", 0.1, 3.0).model_copy(update={"text": "Pump 99 is never greased."})
    heard: list[Any] = []
    Specialist(card, engine, knowledge).run(Brief(task=QUESTION, passages=(attached,)), heard.append)
    found = next(event for event in heard if event.name == "retrieve").data["passages"]
    assert [p["source"] for p in found] == ["7.md", attached.source, "3.md"]


def test_two_searches_read_once(opened: Opened, embedder: OnnxEmbedder) -> None:
    reading = Reading(embedder)
    knowledge = opened(reading)
    card = SpecialistCard(name="fitter", description="Knows the pumps.", knowledge=KnowledgeCard())
    engine = ScriptedEngine(lambda messages: "not found")
    Specialist(card, engine, knowledge).run(Brief(task="Who greases what the red wheel of Pump 3 drives?", hops=2))
    assert len(reading.asked) == 1
    assert bridge(knowledge.search, QUESTION, 3)[0].signals["rerank"] == 0.0


def test_in_a_team_only_who_answers_pays(models: ModelStore, embedder: OnnxEmbedder, tmp_path: Path) -> None:
    with open_bakery(tmp_path, embedder="minilm") as built:
        plan = built.blueprint
    reading = Reading(embedder, lambda text: 2.0 if "lease" in text or "boiler" in text else -2.0)
    with Team.load(plan, store=models, engine=ScriptedEngine(script), embedder=reading) as team:
        assert CARE_QUOTE in team.ask(CARE).text
        assert [question for question, _ in reading.asked] == [CARE]
        assert all("oven" in text or "mixer" in text or "machine" in text for text in reading.asked[0][1])

        reading.asked.clear()
        team.attachments.add("t", Owner(None), "lease.md", LEASE_FILE.encode())
        assert LEASE_QUOTE in team.ask(LEASE, thread_id="t").text
        assert len(reading.asked) == 2, "the file, and the documents of who reads it"

        reading.asked.clear()
        with served(team) as address, httpx.Client(base_url=address, timeout=PATIENCE) as client:
            both = client.get("/api/search", params={"q": GREASE}).json()
            assert reading.asked == []
            assert [p["score"] for p in both] == sorted((p["score"] for p in both), reverse=True)
            of_one = client.get("/api/search", params={"q": GREASE, "specialist": "ovens"}).json()
            assert len(reading.asked) == 1
            assert "boiler" in of_one[0]["text"]
