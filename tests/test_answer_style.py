"""Style `answer`: quotes, one a line, with Yes or No before them; each is a citation, and doubt shows passages."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from metier import Answer, Brief, Specialist
from metier.core.embedding import Embedder
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.engine import Quote
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.knowledge import Knowledge

CANOES = """# Canoes

## Renting

A canoe costs 18 euros a day. Dogs may come along if they are dry. Students pay half.

## Returning

1. Rinse the canoe.
2. Hang up the paddles.
3. Put the key into the box.

Canoes come back by 18:00, because the harbour master locks the gate then.
"""


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Knowledge:
    folder = tmp_path_factory.mktemp("canoes")
    (folder / "canoes.md").write_text(CANOES)
    return Knowledge.build([folder], folder / "index", embedder, KnowledgeCard(), root=folder)


def asked(knowledge: Knowledge, task: str, *script: str, abstain_below: float = 0.0) -> tuple[Answer, ScriptedEngine]:
    engine = ScriptedEngine(script)
    card = SpecialistCard(
        name="canoes", description="Rents canoes by the lake.", style="answer", knowledge=KnowledgeCard()
    )
    answer = Specialist(card, engine, knowledge, abstain_below=abstain_below).run(Brief(task=task))
    assert isinstance(answer, Answer)
    return answer, engine


def quotes(answer: Answer) -> Sequence[str]:
    return [citation.quote for citation in answer.citations]


def test_a_number_is_the_short_span(knowledge: Knowledge) -> None:
    answer, _ = asked(knowledge, "What does a canoe cost?", "18 euros")
    assert (answer.kind, answer.text) == ("answer", "18 euros")
    assert answer.citations[0].heading == ("Canoes", "Renting")


def test_yes_comes_with_the_whole_sentence_that_says_so(knowledge: Knowledge) -> None:
    answer, _ = asked(knowledge, "Can I bring my dog?", "No.\nDogs may come along", "Yes.")
    assert answer.text == "Yes. Dogs may come along if they are dry."
    assert quotes(answer) == ["Dogs may come along if they are dry."]


def test_steps_in_a_row_are_one_quote_and_others_their_own(knowledge: Knowledge) -> None:
    steps = "1. Rinse the canoe.\n2. Hang up the paddles.\n3. Put the key into the box."
    answer, _ = asked(knowledge, "How do I hand it back?", f"{steps}\nA canoe costs 18 euros a day.")
    assert answer.text == f"{steps}\nA canoe costs 18 euros a day."
    assert quotes(answer) == [steps, "A canoe costs 18 euros a day."]


def test_what_stands_nowhere_is_left_out(knowledge: Knowledge) -> None:
    answer, _ = asked(knowledge, "What does it cost?", "18 euros\nand a deposit of 50 euros")
    assert answer.text == "18 euros"


def test_the_engine_is_asked_for_quotes_or_a_refusal_with_yes_and_no_before_them(knowledge: Knowledge) -> None:
    _, engine = asked(knowledge, "What does it cost?", "18 euros")
    shape = engine.calls[0].constraint
    assert isinstance(shape, Quote)
    assert (list(shape.alternatives), list(shape.openings)) == (["not found"], ["Yes.", "No."])
    assert shape.most > 1


def test_a_refusal_shows_the_passages_that_come_nearest_with_the_likely_sentence(knowledge: Knowledge) -> None:
    answer, engine = asked(knowledge, "Until when may I keep it?", "not found", "18:00", abstain_below=0.99)
    assert answer.kind == "abstain"
    assert len(engine.calls) == 2
    assert not answer.citations
    nearest = answer.evidence[0]
    assert nearest.quote == "Canoes come back by 18:00, because the harbour master locks the gate then."
    assert nearest.quote in nearest.context
    assert "18:00" not in answer.text
