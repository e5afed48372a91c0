"""Where the router is in doubt the documents decide, and the surest of several answers counts."""

from __future__ import annotations

from collections.abc import Sequence

from metier import Answer, Route
from metier.agents.graph import join
from metier.agents.second_look import SPEAKS, settle
from metier.core.types import Choice, Part

CHOICES = (
    Choice(name="rust", probability=0.2),
    Choice(name="kitchen", probability=0.15),
    Choice(name="law", probability=0.1),
)


def evidence(**shares: float):
    def look(task: str, names: Sequence[str]) -> dict[str, float]:
        return {name: shares[name] for name in names}

    return look


def test_instead_of_asking_back_the_two_whose_documents_speak_most_of_it_work_on_it() -> None:
    doubt = Route(
        decision="clarify", candidates=("rust", "kitchen", "law"), choices=CHOICES, reason="could be for many"
    )
    route = settle("how long?", "how long?", doubt, evidence(rust=0.1, kitchen=0.5, law=0.3))
    assert route.decision == "surest"
    assert [part.specialist for part in route.parts] == ["kitchen", "law"]
    assert {part.text for part in route.parts} == {"how long?"}


def test_what_the_router_turns_away_goes_to_documents_that_speak_of_it() -> None:
    refused = Route(decision="abstain", choices=CHOICES, confidence=0.9, reason="probably for nobody")
    found = settle("the salery", "the salery", refused, evidence(rust=0.1, kitchen=SPEAKS + 0.05, law=0.2))
    assert (found.decision, [part.specialist for part in found.parts]) == ("one", ["kitchen"])
    assert settle("a poem", "a poem", refused, evidence(rust=0.1, kitchen=0.2, law=0.2)) == refused


def test_a_certain_refusal_stays_and_a_plain_route_too() -> None:
    certain = Route(decision="abstain", choices=CHOICES, confidence=1.0)
    plain = Route(decision="one", parts=(Part(specialist="rust", text="x"),), choices=CHOICES, confidence=0.9)
    for route in (certain, plain):
        assert settle("x", "x", route, evidence(rust=1, kitchen=1, law=1)) == route


def test_the_surest_answer_counts_and_an_abstention_only_when_there_is_nothing_else() -> None:
    route = Route(decision="surest", parts=(Part(specialist="a", text="x"), Part(specialist="b", text="x")))
    unsure = Answer(text="?", kind="abstain", confidence=0.25)
    answers = [unsure, Answer(text="four", confidence=0.6), Answer(text="five", confidence=0.8)]
    assert join(route, answers).text == "five"
    assert join(route, [unsure, unsure]).kind == "abstain"
