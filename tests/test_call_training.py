"""What the skill `call` learns from: right calls, varied, and no function that was kept aside."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from langchain_core.messages import AIMessage, BaseMessage

from metier.benchmarks.skills.call import MADE_UP, Evidence, decision_rows, fit, gather, lesson
from metier.benchmarks.skills.call_data import Asked, Variations, json_schema, learnable, part, read_asked
from metier.core.types import ToolCall
from metier.specialists.engines.scripted import ScriptedEngine, ScriptedReply
from metier.specialists.evaluation.measures import calls_match
from metier.specialists.functions import NO_CALL, call_or_none, read_call
from metier.specialists.styles.act.shown_tools import ToolShortlist
from metier.specialists.styles.act.style import CallDecision

CITIES = ["Pisa", "Lyon", "Graz", "Cork", "Bonn", "Faro"]


def row(number: int) -> dict[str, Any]:
    """As the public set writes it: every third row without a function that fits."""
    city, name = CITIES[number % 6], f"hotels_{number}.findRooms"
    properties = {
        "city": {"type": "string", "description": "Where."},
        "nights": {"type": "integer"},
        "price": {"type": "float", "default": 90.0},
        "stars": {"type": "string", "enum": ["any", "four", "five"]},
        "near": {"type": "tuple", "items": {"type": "float"}},
    }
    function = {
        "name": name,
        "description": f"Find rooms in the hotels of chain {number}.",
        "parameters": {"type": "dict", "properties": properties, "required": ["city", "nights"]},
    }
    fits = number % 3 != 0
    right = {"city": ["", city], "nights": [number + 2], "price": ["", 90.0], "stars": ["four", "five"]}
    return {
        "id": str(number),
        "input": f"Find me five stars in {city} for {number + 2} nights" if fits else "Sing a song",
        "tools": [function, {**function, "name": f"spa_{number}", "description": f"Book a massage in spa {number}."}],
        "answer": [{name: right}] if fits else [],
        "meta": {"gold_fn": name if fits else f"NONE:{name}"},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sets")
    (made / "tools_bfcl.jsonl").write_text("\n".join(json.dumps(row(n)) for n in range(120)))
    return made


def asked(number: int) -> Asked:
    functions = tuple({**f, "parameters": json_schema(f["parameters"])} for f in row(number)["tools"])
    name, accepted = next(iter(row(number)["answer"][0].items()))
    return Asked(str(number), name, row(number)["input"], functions, name, accepted)


def test_of_several_right_values_the_said_one_is_learnt() -> None:
    assert asked(1).arguments == {"city": "Lyon", "nights": 3, "stars": "five"}


def test_prompts_hold_no_function_that_was_kept_aside(folder: Path) -> None:
    rows = read_asked(folder)
    aside = {r.name for r in rows if part(r) != "learn" and r.name}
    assert aside
    made = lesson(folder, ["tools_bfcl"], seed=1, rounds=2)
    prompts = [e.messages[0]["content"] for e in made.examples]
    assert not [name for name in aside for prompt in prompts if f"{name}:" in prompt]
    assert {part(r) for r in rows} == {"learn", "check", "score"}
    assert len(made.aside) == sum(part(r) == "check" for r in rows)
    assert lesson(folder, ["tools_bfcl"], seed=1, rounds=2) == made
    assert len(lesson(folder, [], seed=1, rounds=1).examples) == MADE_UP


def test_what_is_learnt_fits_the_schemas_that_are_shown(folder: Path) -> None:
    rows = list(learnable(read_asked(folder)))
    vary = Variations(rows, random.Random(7))
    for one in rows * 3:
        changed = vary.among(vary.other_names(vary.other_values(one) if one.name else one), 3)
        assert len(changed.functions) <= 3
        call = {"name": changed.name, "arguments": changed.arguments} if changed.name else []
        Draft202012Validator(call_or_none(changed.functions)).validate(call)
        if changed.name:
            assert str(changed.arguments["nights"]) in changed.task
            assert changed.arguments["city"] in changed.task
        gone = vary.without(one, 3) if one.name else None
        if gone:
            assert gone.functions
            assert not gone.name
            assert not [f for f in gone.functions if "rooms" in f["description"]], "another chain's rooms may be meant"
    assert sum(vary.without(one, 3) is not None for one in rows if one.name) > 20


def test_rounds_differ_in_values_and_some_end_after_their_calls(folder: Path) -> None:
    examples = lesson(folder, ["tools_bfcl"], seed=3, rounds=2).examples
    calls = [call for e in examples if (call := read_call(e.answer))]
    assert any(c.arguments.get("nights", 0) > 121 for c in calls), "more than any row says"
    ended = [e for e in examples if e.answer == NO_CALL and " gave: " in e.messages[1]["content"]]
    assert ended
    assert all(e.messages[1]["content"].count(" gave: ") == 2 for e in ended)


@given(st.integers(1, 119).filter(lambda n: n % 3))
def test_the_learnt_call_is_a_right_one(number: int) -> None:
    one = asked(number)
    call = ToolCall(name=one.name, arguments=one.arguments)
    assert calls_match([call], row(number)["answer"])
    assert not calls_match(
        [call.model_copy(update={"arguments": {**one.arguments, "near": [1.0]}})], row(number)["answer"]
    )


@given(st.floats(-8, 8), st.floats(-8, 8), st.floats(-1, 1), st.floats(-1, 1))
def test_a_fitted_decision_rises_with_both(low: float, high: float, far: float, near: float) -> None:
    dice = random.Random(5)
    evidence = [Evidence(dice.gauss(2, 2), dice.gauss(0.6, 0.2), True) for _ in range(60)]
    evidence += [Evidence(dice.gauss(-2, 2), dice.gauss(0.2, 0.2), False) for _ in range(20)]
    decision: CallDecision = fit(evidence)
    (low, high), (far, near) = sorted((low, high)), sorted((far, near))
    assert decision.probability(low, far) <= decision.probability(high, near)
    assert decision.probability(-8, 0.0) < 0.5 < decision.probability(8, 0.8)


def test_a_decision_is_fitted_on_rows_that_were_not_learnt(folder: Path) -> None:
    asked = read_asked(folder)
    rows = decision_rows(asked)
    kept = [row for row in asked if part(row) == "check"]
    learnt = {f["name"] for row in learnable(asked) for f in row.functions if row.name} - {
        f["name"] for row in kept for f in row.functions
    }
    assert rows[: len(kept)] == kept
    assert len(rows) > len(kept)
    assert not [row for row in rows[len(kept) :] if row.name]
    assert not [f for row in rows for f in row.functions if f["name"] in learnt]

    def hesitant(messages: list[BaseMessage]) -> ScriptedReply:
        """Calls whatever it is asked, but less surely where rooms are not what is offered."""
        sure = -0.01 if "Find rooms" in messages[0].text and "Find me" in messages[1].text else -0.5
        return AIMessage('{"', response_metadata={"first_logprob": sure, "logprob": sure})

    engine = ScriptedEngine(hesitant, adapters=["call"])
    evidence = gather(engine, "call", ToolShortlist(), rows)
    assert [e.fits for e in evidence] == [bool(row.name) for row in rows]
    assert min(e.odds for e in evidence) > 0, "the model alone would call each time"
    decision = fit(evidence)
    assert [decision.probability(e.odds, e.similarity) > 0.5 for e in evidence] == [bool(row.name) for row in rows]
    assert {call.adapter for call in engine.calls} == {"call"}
