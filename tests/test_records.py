"""Tasks about records: found and changed without a model, or left to it before anything is changed."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from metier.core.types import ToolCall
from metier.specialists.styles.act.records import do_records, is_change
from metier.specialists.styles.act.shown_tools import ToolShortlist

NOW = datetime(2026, 11, 27, 9)  # a Friday
PEOPLE = {"mia": "mia.kern@plant.example", "jon": "jon.abel@plant.example", "mia kern": "mia.kern@plant.example"}
PERMITS = [
    {"permit_id": "1", "permit_name": "Welding tank 3", "assigned_to_email": PEOPLE["mia"], "status": "Open",
     "starts": "2026-11-27 14:00:00"},
    {"permit_id": "2", "permit_name": "Roof work", "assigned_to_email": PEOPLE["mia"], "status": "Draft",
     "starts": "2026-11-28 08:00:00"},
    {"permit_id": "3", "permit_name": "Roof work", "assigned_to_email": PEOPLE["jon"], "status": "Open",
     "starts": "2026-11-30 08:00:00"},
]  # fmt: skip


def function(name: str, about: str, /, **properties: str) -> dict[str, Any]:
    schema = {key: {"type": "string", "description": said} for key, said in properties.items()}
    return {"name": name, "description": about, "parameters": {"properties": schema, "required": []}}


STATUS = 'Status of the permit. One of: "Draft", "Open", "Closed"'
TOOLS = [
    function("people.find_email_address", "Finds somebody's address.", name="Name of the person."),
    function(
        "permits.search_permits", "Searches permits.", permit_name="Its name.", status="Its status.",
        assigned_to_email="Email address of who holds it.",
    ),
    function("permits.update_permit", "Updates a permit.", permit_id="Its ID.", field="Field to update.",
             new_value="New value."),
    function("permits.delete_permit", "Deletes a permit.", permit_id="Its ID."),
    function("permits.create_permit", "Creates a permit.", permit_name="Name of the permit.",
             assigned_to_email="Email address of who holds it.", status=STATUS,
             starts='When it begins. Format: "YYYY-MM-DD HH:MM:SS"'),
]  # fmt: skip


class Desk:
    """The tools over the permits above; a search gives at most two at once."""

    def __init__(self) -> None:
        self.rows = [dict(row) for row in PERMITS]

    def call(self, call: ToolCall) -> str:
        given = call.arguments
        match call.name.partition(".")[2]:
            case "find_email_address":
                return json.dumps([PEOPLE[given["name"].lower()]] if given["name"].lower() in PEOPLE else [])
            case "search_permits":
                return json.dumps(
                    [row for row in self.rows if all(v.lower() in row[k].lower() for k, v in given.items())][:2]
                )
            case "delete_permit":
                self.rows = [row for row in self.rows if row["permit_id"] != given["permit_id"]]
            case "update_permit":
                next(row for row in self.rows if row["permit_id"] == given["permit_id"])[given["field"]] = given[
                    "new_value"
                ]
        return "done"


def done(task: str) -> tuple[bool, list[tuple[str, dict[str, Any]]]]:
    """Whether it was understood, and the calls that changed something."""
    desk, reading, sent = Desk(), do_records(task, TOOLS, ToolShortlist(), NOW), None
    changes: list[tuple[str, dict[str, Any]]] = []
    while True:
        try:
            call = next(reading) if sent is None else reading.send(sent)
        except StopIteration as end:
            return end.value, changes
        if is_change(call):
            changes.append((call.name.partition(".")[2], call.arguments))
        sent = call.model_copy(update={"result": desk.call(call)})


def test_all_that_is_meant_is_changed_also_where_a_search_gives_only_some() -> None:
    assert done("Delete all permits") == (True, [("delete_permit", {"permit_id": str(n)}) for n in (1, 2, 3)])
    assert done("Cancel all of Mia's draft permits") == (True, [("delete_permit", {"permit_id": "2"})])


def test_one_is_chosen_by_its_time() -> None:
    assert done("Delete the last permit of mia")[1] == [("delete_permit", {"permit_id": "2"})]
    assert done("Delete the first permit of mia")[1] == [("delete_permit", {"permit_id": "1"})]


def test_a_new_holder_and_a_new_status() -> None:
    change = {"permit_id": "1", "field": "assigned_to_email", "new_value": PEOPLE["jon"]}
    assert done("Reassign 'Welding tank 3' to jon") == (True, [("update_permit", change)])
    closed = {"permit_id": "3", "field": "status", "new_value": "Closed"}
    assert done("Change all of jon's permits to closed") == (True, [("update_permit", closed)])


def test_something_new_with_day_hour_and_holder() -> None:
    made = {
        "permit_name": "Crane",
        "assigned_to_email": PEOPLE["mia"],
        "status": "Draft",
        "starts": "2026-12-03 15:30:00",
    }
    assert done("Create a draft permit called Crane for mia on 3 December at 3:30") == (True, [("create_permit", made)])


@pytest.mark.parametrize(
    "task",
    [
        "If it rains, delete all permits",
        "Delete all permits but not those of mia",
        "Delete all permits of the late-running noisy contractors",
        "Reassign 'Welding tank 3' to somebody",
        "Delete the permit of mia",  # there are two
        "How many permits are open?",
        "Create a permit called Crane for mia",  # when?
        "Delete all permits 'Dig' of mia and 'Lift'",
    ],
)
def test_what_is_not_understood_changes_nothing(task: str) -> None:
    assert done(task) == (False, [])
