"""Optional arguments of a call, mended by what was said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core.types import ToolCall
from metier.specialists.styles.act.arguments import Utterance, mend, numbers_in, spelled, stems

TRIP: dict[str, Any] = {
    "name": "find_trip",
    "description": "Find a bus between two cities.",
    "parameters": {
        "type": "object",
        "properties": {
            "to": {"type": "string", "description": "City where the trip ends."},
            "seats": {"type": "integer", "description": "How many people travel, or tickets are needed."},
            "class": {"type": "string", "enum": ["standard", "extra_legroom"], "description": "Kind of seat."},
            "via": {"type": "string", "description": "City on the way."},
            "wheelchair": {"type": "boolean", "description": "Whether there must be a ramp for it."},
            "discount": {"type": "number", "description": "As a fraction, for the holder of a card."},
        },
        "required": ["to"],
    },
}


def mended(task: str, **arguments: Any) -> dict[str, Any]:
    call = ToolCall(name="find_trip", arguments={"to": "Graz", **arguments})
    return mend(call, TRIP, task).arguments


@pytest.mark.parametrize(
    ("task", "given", "kept"),
    [
        ("Find a bus to Graz", {"wheelchair": True}, {}),
        ("Find a bus to Graz for my wheelchair", {"wheelchair": True}, {"wheelchair": True}),
        ("Find a bus to Graz", {"seats": 2}, {}),
        ("Find a bus to Graz, 2 seats", {"seats": 2}, {"seats": 2}),
        ("A bus for a couple of people to Graz in the evening", {"seats": 2}, {"seats": 2}),
        ("Find a bus to Graz, I have the 20 % card", {"discount": 0.2}, {"discount": 0.2}),
        ("Find a bus to Graz", {"via": "Linz"}, {}),
        ("Find a bus to Graz over Linz", {"via": "Linz"}, {"via": "Linz"}),
        ("Find a bus to Graz for many", {"class": "extra_legroom"}, {"class": "extra_legroom"}),
    ],
)
def test_what_nobody_said_is_left_out(task: str, given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert mended(task, **given) == {"to": "Graz", **kept}


@pytest.mark.parametrize(
    ("task", "added"),
    [
        ("Find a bus to Graz for three people", {"seats": 3}),
        ("Find a bus to Graz, 3 tickets", {"seats": 3}),
        ("Find a bus to Graz at 3", {}),
        ("Find a bus to Graz with extra legroom", {"class": "extra_legroom"}),
        ("Find a bus to Graz, I don't need extra legroom", {}),
        ("Find a bus to Graz that takes a wheelchair", {"wheelchair": True}),
        ("Find a bus to Graz, no wheelchair", {}),
        ("Find a bus to Graz with a discount of 3 percent", {"discount": 3}),
    ],
)
def test_what_is_said_plainly_is_added(task: str, added: dict[str, Any]) -> None:
    assert mended(task) == {"to": "Graz", **added}


def test_a_number_that_an_argument_has_is_not_used_twice() -> None:
    task = "Find a bus to Graz, 3 tickets"
    assert mended(task, seats=3) == {"to": "Graz", "seats": 3}
    assert mended("Find a bus to Graz 3 with 3 tickets", to="Graz 3") == {"to": "Graz 3"}


def test_an_argument_that_may_be_null_is_mended_too() -> None:
    pages = {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "How many pages to print."}
    function = {"name": "print", "description": "Print the file.", "parameters": {"properties": {"pages": pages}}}
    assert mend(ToolCall(name="print"), function, "Print 3 pages of the file").arguments == {"pages": 3}
    assert mend(ToolCall(name="print", arguments={"pages": 4}), function, "Print the file").arguments == {}


def test_known_texts_ground_an_argument_but_add_none() -> None:
    call = ToolCall(name="find_trip", arguments={"to": "Graz", "via": "Linz"})
    known = "She travels with two people and a wheelchair, for the view always over Linz."
    assert mend(call, TRIP, "Find a bus to Graz", known) == call


def test_a_request_in_another_language_is_left_alone() -> None:
    call = ToolCall(name="find_trip", arguments={"to": "Graz", "wheelchair": True, "via": "Linz"})
    assert mend(call, TRIP, "Busse nach Graz mit Rollstuhlrampe, 3 Plätze") == call


def test_a_function_without_parameters_is_left_alone() -> None:
    call = ToolCall(name="now")
    assert mend(call, {"name": "now"}, "What time is it?") == call


@given(st.text(), st.dictionaries(st.sampled_from([*TRIP["parameters"]["properties"]]), st.integers() | st.text()))
def test_required_arguments_stay_and_nothing_foreign_comes(task: str, arguments: dict[str, Any]) -> None:
    call = ToolCall(name="find_trip", arguments=arguments)
    after = mend(call, TRIP, f"find the bus for {task}").arguments
    assert set(after) <= set(TRIP["parameters"]["properties"])
    assert after.get("to") == arguments.get("to")
    assert mend(call.model_copy(update={"arguments": after}), TRIP, f"find the bus for {task}").arguments == after


def test_what_a_text_says() -> None:
    said = Utterance("Two comedies for 1,200 kr, not the 20 % ones of '19")
    assert set(said.numbers) == {2.0, 1200.0, 20.0, 19.0}
    assert stems("comedy") <= said.stems
    assert said.negated
    assert not Utterance("Nothing is noted for Nora").negated
    assert said.number(0.2)
    assert said.number(2019)
    assert not said.number(7)
    assert Utterance("half an hour").number(30)
    assert said.words("COMEDIES")
    assert not said.words("comedie")
    assert spelled("numPassengers_total") == "num passengers total"
    assert set(numbers_in({"a": [1, {"b": "12:30"}], "c": True})) == {1.0, 100.0, 12.0, 30.0}


@given(st.text(), st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6))
def test_any_text_can_be_asked_for_any_number(text: str, value: float) -> None:
    assert Utterance(text).number(value) in (True, False)
    assert all(isinstance(number, float) for number in Utterance(text).numbers)
