"""What a task says for the parameters of a workflow."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from metier.agents.workflows.slots import fill_slots, without_slots
from metier.agents.workflows.steps import Parameter
from metier.core.dates import days_in

TODAY = date(2026, 11, 27)  # a Friday
SITE = Parameter(enum=("North", "South", "North East"), description="Which site")
LIMIT = Parameter(type="integer", default=3, minimum=1, maximum=10, description="How many machines")
DAY = Parameter(description="Since which day")


def said(task: str, *examples: str, guess: Any = None, **parameters: Parameter) -> dict[str, Any]:
    return fill_slots(parameters, task, examples=examples, today=TODAY, guess=guess).values


def test_a_value_of_a_list_is_taken_where_it_is_said_and_the_longer_one_counts() -> None:
    assert said("weekly report for north", site=SITE) == {"site": "North"}
    assert said("weekly report for North East please", site=SITE) == {"site": "North East"}
    assert said("everything but not North", site=SITE) == {}
    filled = fill_slots({"site": SITE, "limit": LIMIT}, "weekly report", today=TODAY)
    assert (filled.values, filled.missing) == ({"limit": 3}, ("site",))


def test_a_number_is_taken_beside_its_name_or_where_only_one_is_needed() -> None:
    assert said("the 5 machines of 2026", limit=LIMIT) == {"limit": 5}
    assert said("report of 24 November", limit=LIMIT) == {"limit": 3}
    assert said("order twelve", amount=Parameter(type="integer")) == {"amount": 12}
    assert said("order 12 or 13", amount=Parameter(type="integer")) == {}
    assert said("order 500", amount=Parameter(type="integer", maximum=100)) == {}


@pytest.mark.parametrize(
    ("task", "day"),
    [
        ("report since Monday", "2026-11-23"),
        ("report since 2 November", "2026-11-02"),
        ("report from 2026-01-31", "2026-01-31"),
        ("report for tomorrow", "2026-11-28"),
        ("what happened in the last 2 weeks?", "2026-11-13"),
        ("report of 3.10.2025", "2025-10-03"),
        ("report of 31 February", None),
    ],
)
def test_days_are_dates(task: str, day: str | None) -> None:
    assert said(task, since=DAY).get("since") == day


def test_a_day_without_a_year_is_the_nearest() -> None:
    assert [str(found.day) for found in days_in("30 December, 5 January and 29 Feb", TODAY)] == [
        "2026-12-30",
        "2027-01-05",
        "2028-02-29",
    ]


def test_the_words_around_a_slot_tell_a_free_text() -> None:
    part, machine = Parameter(), Parameter()
    example = "order {part} for the {machine}"
    assert said("Order two seals for the labeller.", example, part=part, machine=machine) == {
        "part": "two seals",
        "machine": "labeller",
    }
    assert said("please get us something", example, part=part, machine=machine) == {}


def test_quotes_and_names_are_taken_where_there_are_as_many_as_needed() -> None:
    assert said('open a ticket "pump leaks"', "open a ticket", title=Parameter()) == {"title": "pump leaks"}
    assert said("reassign everything of Anna Berg", "reassign everything", who=Parameter()) == {"who": "Anna Berg"}
    assert said("reassign everything of Anna Berg and Ben Carr", "reassign", who=Parameter()) == {}


def test_the_base_is_asked_last_and_only_what_the_task_says_is_taken() -> None:
    asked = list[dict[str, Parameter]]()

    def guess(parameters: dict[str, Parameter], task: str) -> dict[str, Any]:
        asked.append(dict(parameters))
        return {"colour": "light blue", "size": "XXL", "site": "South"}

    wanted = {"site": SITE, "colour": Parameter(), "size": Parameter()}
    assert said("the light blue one for North", guess=guess, **wanted) == {"site": "North", "colour": "light blue"}
    assert [set(one) for one in asked] == [{"colour", "size"}]


def test_the_router_learns_examples_with_values() -> None:
    assert without_slots("report for {site} with {limit} of {part_name}", {"site": SITE, "limit": LIMIT}) == (
        "report for North with 3 of part name"
    )
