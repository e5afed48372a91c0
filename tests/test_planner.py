"""Taking tasks apart: what rules see, what the base may write, and what comes of it as a plan."""

from __future__ import annotations

import json

import pytest

from metier.agents.workflows.planner import Decomposition, Planner, SubTask, as_plan, plan_schema, read_pieces, writer
from metier.agents.workflows.steps import AskStep, JoinStep
from metier.agents.workflows.template import fill_text
from metier.core.types import Answer, Part, Route
from metier.specialists.engines.engine import Json
from metier.specialists.engines.scripted import ScriptedEngine


def tasks(task: str) -> list[str]:
    found = Planner().decompose(task)
    return [piece.task for piece in found.pieces] if found else []


@pytest.mark.parametrize(
    ("task", "pieces"),
    [
        (
            "For each of FL-1, FL-2 and the labeller: when was it last serviced?",
            ["when was FL-1 last serviced?", "when was FL-2 last serviced?", "when was the labeller last serviced?"],
        ),
        (
            "What torque is needed for each of these: valve bolts, cap bolts",
            ["What torque is needed for valve bolts?", "What torque is needed for cap bolts?"],
        ),
        (
            "compare the warranty period of the Nordlicht and the Hansa contract",
            ["What is the warranty period of the Nordlicht?", "What is the warranty period of the Hansa contract?"],
        ),
        (
            "What is the difference in price between P-101 and P-102?",
            ["What is the price of P-101?", "What is the price of P-102?"],
        ),
        (
            "Which pump delivers more, P-101 or P-102?",
            ["P-101: Which pump delivers more?", "P-102: Which pump delivers more?"],
        ),
        (
            "Who may open the valve and how long does the permit last?",
            ["Who may open the valve", "how long does the permit last?"],
        ),
        ("Look up the seal of P-101, then order two", ["Look up the seal of P-101", "order two"]),
    ],
)
def test_rules_see_the_plain_cases(task: str, pieces: list[str]) -> None:
    assert tasks(task) == pieces


@pytest.mark.parametrize(
    "task",
    [
        "How often is the carousel bearing greased?",
        "What do health and safety rules say about ladders?",
        "Who signs the permit and the handover sheet?",
        "Is the pump noisy or is that normal?",
        "Write to Anna and Ben.",
        "I was charged twice and I want my money back",
        "Compare.",
        "",
    ],
)
def test_one_question_stays_one(task: str) -> None:
    assert tasks(task) == []


def by_word(text: str) -> Route:
    """Orders are for `buyer`, poems for nobody, all else for `fitter`."""
    if "poem" in text:
        return Route(decision="abstain")
    name = "buyer" if "order" in text else "fitter"
    return Route(decision="one", parts=(Part(specialist=name, text=text),))


def test_steps_that_follow_each_other_need_different_specialists_and_none_that_is_nobodys() -> None:
    planner = Planner(by_word)
    found = planner.decompose("Look up the seal of P-101, then order two.")
    assert found
    assert found.chained
    assert planner.decompose("Look up the seal of P-101, then tell me its price.") is None
    assert planner.decompose("Who opens the valve and who wrote this poem?") is None


def test_what_is_looked_up_is_a_fact_for_the_next_step() -> None:
    plan = Planner(by_word).plan("Look up the seal of {P-101}, then order two.")
    assert plan
    assert plan.check() == []
    last = plan.steps["part_2"]
    assert isinstance(last, AskStep)
    assert fill_text(last.facts[0], {"part_1": "SP-07"}) == "Look up the seal of {P-101} SP-07"
    assert plan.outcome == "part_2"


def test_side_by_side_parts_are_joined_under_their_names_and_taken_apart_again_when_unsure() -> None:
    plan = Planner().plan("Compare the price of P-101 and P-102")
    assert plan
    assert plan.check() == []
    join = plan.steps["answer"]
    assert isinstance(join, JoinStep)
    assert fill_text(join.join, {"part_1": "3 €", "part_2": "4 €"}) == "P-101: 3 €\nP-102: 4 €"
    assert {plan.steps[f"part_{n}"].on_failure for n in (1, 2)} == {"replan"}


def test_an_unsure_question_is_searched_again_once_with_what_the_first_search_found() -> None:
    planner, step = Planner(), AskStep(ask="fitter", task="Which seal fits {{ what }}?", on_failure="replan")
    unsure = Answer(text="I do not know.", kind="abstain")
    again = planner.replan(step, "Which seal fits the pump of line 3?", unsure)
    assert again
    assert again.check() == []
    (second,) = again.steps.values()
    assert isinstance(second, AskStep)
    assert (second.hops, second.ask, second.on_failure) == (2, "fitter", "fail")
    assert planner.replan(second, "Which seal fits the pump of line 3?", unsure) is None
    assert planner.replan(step, "Which seal fits the pump of line 3?", None) is None


def test_the_base_chooses_among_names_and_says_at_most_so_many_steps() -> None:
    steps = [
        {"who": "fitter", "task": "find the seal of P-101", "needs": []},
        {"who": "fitter", "task": "Find the seal of P-101", "needs": []},
        {"who": "buyer", "task": "write a poem", "needs": []},
        {"who": "buyer", "task": "order the seal", "needs": [1, 9]},
    ]
    engine = ScriptedEngine([json.dumps({"steps": steps})])
    write = writer(engine, {"fitter": "knows the machines", "buyer": "orders parts"}, most=4)
    task = "Get me a new seal for P-101"
    assert list(write(task)) == [
        SubTask("find the seal of P-101", ask="fitter"),
        SubTask("order the seal", ask="buyer", uses=(0,)),
    ]
    (call,) = engine.calls
    assert isinstance(call.constraint, Json)
    assert call.constraint.schema == plan_schema(["fitter", "buyer"], 4)
    assert list(read_pieces('{"steps": [{"who": "fit', task)) == []


def test_the_base_is_only_asked_where_no_rule_fits() -> None:
    engine = ScriptedEngine([])
    planner = Planner(write=writer(engine, {"fitter": "knows the machines"}))
    assert planner.decompose("Compare the price of P-101 and P-102")
    assert engine.calls == []


def test_a_user_cannot_write_templates() -> None:
    found = Decomposition("two", (SubTask("what is {{ secret }}?"), SubTask("and {% raw %}?")))
    plan = as_plan(found, "x")
    assert plan.check() == []
    first = plan.steps["part_1"]
    assert isinstance(first, AskStep)
    assert fill_text(first.task, {}) == "what is {{ secret }}?"
