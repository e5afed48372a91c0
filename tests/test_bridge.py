"""The second search uses what the first found: names in it, and the words that are still open."""

from __future__ import annotations

from pathlib import Path

import pytest

from metier.core.embedding import Embedder
from metier.core.types import Answer, Brief
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.knowledge import Knowledge
from metier.specialists.knowledge.bridge import bridge, proper_names
from metier.specialists.specialist import Specialist

TEXTS = {
    "Line 3": "Line 3 fills glass bottles. Its filler is a Kestrel 40, bought second-hand in 2019.",
    "Kestrel 40": "The Kestrel 40 has 40 valves. Its gasket set is GK-204 and is kept in store B.",
    "Line 1": "Line 1 fills cans. Its filler was made in Parma and has 60 valves.",
    "Line 2": "Line 2 fills kegs. The filler of line 2 stands beside the washer.",
    "Gaskets": "Gaskets of the filler are changed when they leak. A gasket costs little.",
    "Store": "The store is open from seven to four. Sets are booked at the counter.",
}
QUESTION = "Which gasket set fits the filler of Line 3?"


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Knowledge:
    folder = tmp_path_factory.mktemp("bridge")
    for title, text in TEXTS.items():
        (folder / f"{title}.md").write_text(f"# {title}\n\n{text}\n")
    return Knowledge.build([folder], folder / "index", embedder, KnowledgeCard(), root=folder)


def sources(passages) -> list[str]:
    return [Path(passage.source).stem for passage in passages]


def test_the_second_search_finds_what_the_first_only_names(knowledge: Knowledge) -> None:
    assert "Kestrel 40" not in sources(knowledge.search(QUESTION, 3))
    found = sources(bridge(knowledge.search, QUESTION, 3))
    assert "Kestrel 40" in found
    assert "Line 3" in found
    assert len(found) == 3


def test_a_specialist_bridges_where_its_brief_says_so(knowledge: Knowledge) -> None:
    card = SpecialistCard(name="fitter", description="Knows the lines.", style="quote", knowledge=KnowledgeCard())
    for hops, known in ((1, False), (2, True)):
        engine = ScriptedEngine(["GK-204"])
        answer = Specialist(card, engine, knowledge, abstain_below=0.0).run(Brief(task=QUESTION, hops=hops))
        assert isinstance(answer, Answer)
        assert ("GK-204 and is kept" in engine.calls[0].messages[-1].text) is known


def test_nothing_to_follow_is_the_first_search_alone(knowledge: Knowledge) -> None:
    assert bridge(lambda query, k: [], QUESTION, 3) == []
    assert len(bridge(knowledge.search, QUESTION, 1)) == 1


def test_names_are_capitalised_words_titles_and_codes_that_the_question_does_not_say() -> None:
    said = [*proper_names('Anna Berg wrote "A Long Day" in Bergen; see P-101.', "Who is Anna Berg?")]
    assert said == ["A Long Day", "Bergen", "P-101"]
