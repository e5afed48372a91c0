"""WorkBench's office, on tables of two rows: what its tools find and change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metier.benchmarks.office import NOW, Office, parse
from metier.core.types import ToolCall
from metier.tools.session import SpecialistTools

TABLES = {
    "analytics_data": "date_of_visit,visitor_id,session_duration_seconds,traffic_source,user_engaged\n"
    "2023-10-01,1,4,direct,True\n2023-10-01,2,8,referral,False\n2023-10-02,3,6,direct,False\n",
    "calendar_events": "event_id,event_name,participant_email,event_start,duration\n"
    "1,sync up,ana@x.com,2023-12-01 09:00:00,30\n2,review,bo@x.com,2023-12-02 09:00:00,60\n",
    "emails": "email_id,inbox/outbox,sender/recipient,subject,sent_datetime,body\n"
    "1,inbox,ana@x.com,Old plan,2023-11-01 09:00:00,Hi\n2,inbox,ana@x.com,New plan,2023-11-02 09:00:00,Hello\n",
    "project_tasks": "task_id,task_name,assigned_to_email,list_name,due_date,board\n"
    "1,Fix,bo@x.com,Backlog,2023-12-01,Design\n",
    "customer_relationship_manager_data": "customer_id,customer_name,assigned_to_email,status,last_contact_date\n"
    "1,Kim,ana@x.com,Lead,2023-11-01\n",
    "company_directory": "ana@x.com\nbo@x.com\n",
}
VERBS = {
    "calendar.search_events": (["query", "time_min"], False),
    "calendar.delete_event": (["event_id"], True),
    "calendar.create_event": (["event_name", "participant_email", "event_start", "duration"], True),
    "email.search_emails": (["query", "date_max"], False),
    "email.forward_email": (["email_id", "recipient"], True),
    "email.reply_email": (["email_id", "body"], True),
    "customer_relationship_manager.update_customer": (["customer_id", "field", "new_value"], True),
    "company_directory.find_email_address": (["name"], False),
    "analytics.total_visits_count": (["time_min"], False),
    "analytics.get_average_session_duration": (["time_min", "time_max"], False),
    "analytics.create_plot": (["time_min", "time_max", "value_to_plot", "plot_type"], True),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in TABLES.items():
        (tmp_path / f"{name}.csv").write_text(text)
    tools = [
        {
            "name": name,
            "description": f"{name}.",
            "parameters": {"type": "dict", "properties": {a: {"type": "string"} for a in arguments}, "required": []},
            "changes_data": changes,
        }
        for name, (arguments, changes) in VERBS.items()
    ]
    (tmp_path / "tools.json").write_text(json.dumps(tools))
    return tmp_path


def use(office: Office, name: str, /, **arguments: str) -> ToolCall:
    return SpecialistTools(office.tools).open()(ToolCall(name=name, arguments=arguments))


def test_searches_find_what_the_files_hold(folder: Path) -> None:
    office = Office(folder)
    found = json.loads(use(office, "email.search_emails", query="ANA plan").result)
    assert [mail["email_id"] for mail in found] == ["2", "1"], "the latest first"
    assert [m["email_id"] for m in json.loads(use(office, "email.search_emails", date_max="2023-11-01").result)] == [
        "1"
    ]
    later = json.loads(use(office, "calendar.search_events", time_min="2023-12-02 00:00:00").result)
    assert [event["event_id"] for event in later] == ["2"]
    assert json.loads(use(office, "company_directory.find_email_address", name="Bo").result) == ["bo@x.com"]
    assert json.loads(use(office, "analytics.total_visits_count", time_min="2023-10-01").result)["2023-10-01"] == 2
    day = use(office, "analytics.get_average_session_duration", time_min="2023-10-01", time_max="2023-10-01")
    assert json.loads(day.result) == {"2023-10-01": 6.0}
    assert office.state() == Office(folder).state(), "to look changes nothing"


def test_the_same_changes_in_another_order_leave_the_same_tables(folder: Path) -> None:
    calls = [
        'calendar.delete_event.func(event_id="1")',
        'calendar.create_event.func(event_name="a", participant_email="b", event_start="c", duration="30")',
        'email.forward_email.func(email_id="2", recipient="bo@x.com")',
        'customer_relationship_manager.update_customer.func(customer_id="1", field="status", new_value="Won")',
        'analytics.create_plot.func(time_min="1", time_max="2", value_to_plot="v", plot_type="bar")',
    ]
    one, other, less = Office(folder), Office(folder), Office(folder)
    one.do(calls)
    other.do(calls[::-1])
    less.do(calls[1:])
    assert one.state() == other.state() != less.state()
    sent = one.tables["email"][-1]
    assert (sent["subject"], sent["sender/recipient"], sent["sent_datetime"]) == ("FW: New plan", "bo@x.com", NOW)


def test_wrong_calls_are_errors_and_change_nothing(folder: Path) -> None:
    office = Office(folder)
    for name, arguments, message in (
        ("calendar.delete_event", {"event_id": "9"}, "no event_id '9'"),
        ("calendar.delete_event", {}, "needs event_id"),
        (
            "customer_relationship_manager.update_customer",
            {"customer_id": "1", "field": "colour", "new_value": "red"},
            "no field 'colour'",
        ),
    ):
        assert message in str(use(office, name, **arguments).error)
    assert office.state() == Office(folder).state()


def test_the_notation_is_read() -> None:
    assert parse('email.reply_email.func(email_id="1", body="It\'s, (ok)")') == (
        "email.reply_email",
        {"email_id": "1", "body": "It's, (ok)"},
    )
