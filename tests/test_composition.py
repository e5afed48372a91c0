"""A composed answer reads as one, keeps what it rests on, and says what is open."""

from __future__ import annotations

from metier import Answer, Route
from metier.agents.composition import compose, composed
from metier.core.types import Citation, Part, Usage


def cited(text: str, source: str) -> Answer:
    quote = Citation(source=source, quote=text, start=0, end=len(text))
    return Answer(text=text, citations=(quote,), confidence=0.9, usage=Usage(calls=1), specialist=source[:-3])


def several(*tasks: str) -> Route:
    return Route(decision="several", parts=tuple(Part(specialist="x", text=task) for task in tasks))


def test_a_bare_value_stands_behind_its_question_and_a_sentence_for_itself() -> None:
    route = several("what do I pay in the canteen", "when is it open?")
    answer = compose(route, [cited("100 %", "hr.md"), cited("It is open from 11 to 14.", "site.md")])
    assert answer.text == "What do I pay in the canteen? 100 %\nIt is open from 11 to 14."
    assert [c.source for c in answer.citations] == ["hr.md", "site.md"]
    assert answer.usage.calls == 2


def test_what_nobody_could_answer_is_said_at_the_end_and_the_rest_stays() -> None:
    unsure = Answer(text="I do not know: nothing in its documents answers this.", kind="abstain", reason="nothing")
    failed = Answer(text="I could not work on this: out of memory", kind="abstain", reason="EngineError")
    answer = compose(several("who won?", "when is lunch?", "why?"), [unsure, cited("noon", "site.md"), failed])
    assert answer.kind == "answer"
    assert answer.text.splitlines() == [
        "When is lunch? noon",
        "Nobody here could answer: who won?",
        "Nobody here could answer: why? (I could not work on this: out of memory)",
    ]


def test_the_same_sentence_from_two_is_said_once_with_both_sources() -> None:
    both = compose(several("a?", "b?"), [cited("Closed on Monday.", "a.md"), cited("Closed on Monday.", "b.md")])
    assert both.text == "Closed on Monday."
    assert len(both.citations) == 2


def test_an_order_is_no_question_and_shown_passages_are_not_called_an_answer() -> None:
    shown = Answer(text="I am not sure. These passages come nearest; whether …", kind="abstain")
    assert composed(["order a filter", "how long does it last?"], [Answer(text="order 7"), shown]) == (
        "Order a filter: order 7\nI am not sure about this: how long does it last?"
    )
