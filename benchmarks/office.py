"""WorkBench's office: its 27 tools over its tables in memory, as LangChain tools (Styles et al., COLM 2024).

The descriptions come from the data's own `tools.json`; what the tools do is written here after them. Two runs are
compared by the tables they leave behind.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from metier.benchmarks.skills.call_data import json_schema
from metier.core.errors import ToolError
from metier.tools.policy import Effects
from metier.tools.tool import declare

NOW = "2023-11-30 00:00:00"
"""The clock of all tasks."""
MOST = 5
"""Records that the searches for events, e-mails and customers give."""

_FILES = {
    "analytics": "analytics_data",
    "calendar": "calendar_events",
    "email": "emails",
    "project_management": "project_tasks",
    "customer_relationship_manager": "customer_relationship_manager_data",
}
_IDS = {
    "analytics": "visitor_id",
    "calendar": "event_id",
    "email": "email_id",
    "project_management": "task_id",
    "customer_relationship_manager": "customer_id",
}
_OPTIONAL = ("customer_email", "customer_phone", "last_contact_date", "product_interest", "notes", "follow_up_by")
"""What a new customer may come without; all else that changes data needs all its arguments."""

Row = dict[str, str]


class Office:
    """Five tables and a folder of plots. Everything is text, as in the files."""

    def __init__(self, folder: Path) -> None:
        self.tables = {name: _read(folder / f"{file}.csv") for name, file in _FILES.items()}
        self.directory = (folder / "company_directory.csv").read_text(encoding="utf-8-sig").split()
        self.plots: list[str] = []
        self._made = 0
        specs = json.loads((folder / "tools.json").read_text(encoding="utf-8"))
        self.tools: list[BaseTool] = [self._tool(spec) for spec in specs]

    def state(self) -> list[str]:
        """The tables and plots, in an order that does not depend on the order of the changes."""
        rows = [(name, row) for name, table in self.tables.items() for row in table]
        known = [(n, {k: v for k, v in row.items() if not v.startswith("new-")}) for n, row in rows]
        return sorted([json.dumps(entry, sort_keys=True) for entry in known] + self.plots)

    def do(self, calls: list[str]) -> None:
        """Make calls in the data's own notation: `tool.func(argument="value")`."""
        tools = {tool.name: tool for tool in self.tools}
        for text in calls:
            name, arguments = parse(text)
            tools[name].invoke(arguments)

    def _tool(self, spec: dict[str, Any]) -> BaseTool:
        area, _, verb = spec["name"].partition(".")
        schema = json_schema(spec["parameters"])
        if spec["changes_data"]:
            schema["required"] = [name for name in schema["properties"] if name not in _OPTIONAL]
        act = self._verb(area, verb)

        def run(**given: Any) -> str:
            missing = [name for name in schema["required"] if given.get(name) in (None, "")]
            if missing:
                raise ToolError(f"{spec['name']} needs {', '.join(missing)}")
            return act({name: str(value) for name, value in given.items() if value not in (None, "")})

        made = StructuredTool.from_function(
            run, name=spec["name"], description=spec["description"], args_schema=schema, infer_schema=False
        )
        # The policy has a benchmark of its own (tools_safety.py); here nothing is foreign, so that it asks nobody.
        effect = "write" if spec["changes_data"] else "read"
        return declare(made, Effects(effect=effect, untrusted_output=False, sensitive=False))

    def _verb(self, area: str, verb: str) -> Callable[[Row], str]:
        own = getattr(self, f"_{verb}", None)
        if own is not None:
            return own
        for start, act in (("get_", self._get), ("search_", self._search), ("update_", self._update)):
            if verb.startswith(start):
                return lambda given: act(area, given)
        if verb.startswith("delete_"):
            return lambda given: self._delete(area, given)
        return lambda given: self._add(area, given)

    # What all areas share

    def _find(self, area: str, given: Row) -> Row:
        key = _IDS[area]
        found = next((row for row in self.tables[area] if row[key] == given.get(key)), None)
        if found is None:
            raise ToolError(f"no {key} '{given.get(key)}'")
        return found

    def _get(self, area: str, given: Row) -> str:
        row = self._find(area, given)
        field = given.get("field")
        return json.dumps({field: row[field]} if field in row else row)

    def _update(self, area: str, given: Row) -> str:
        row, field = self._find(area, given), given["field"]
        if field not in row:
            raise ToolError(f"no field '{field}'; fields: {', '.join(row)}")
        row[field] = given["new_value"]
        return "updated"

    def _delete(self, area: str, given: Row) -> str:
        self.tables[area].remove(self._find(area, given))
        return "deleted"

    def _add(self, area: str, given: Row) -> str:
        self._made += 1
        row = dict.fromkeys(self.tables[area][0], "") | given | {_IDS[area]: f"new-{self._made}"}
        self.tables[area].append(row)
        return row[_IDS[area]]

    def _search(self, area: str, given: Row) -> str:
        found = [row for row in self.tables[area] if all(_holds(row, name, value) for name, value in given.items())]
        if area == "email":
            found.sort(key=lambda row: row["sent_datetime"], reverse=True)
        return json.dumps(found if area == "project_management" else found[:MOST])

    # What only one area has

    def _find_email_address(self, given: Row) -> str:
        name = given.get("name", "").lower().replace(" ", ".")
        return json.dumps([address for address in self.directory if name and name in address.lower()])

    def _send_email(self, given: Row) -> str:
        row = {"sender/recipient": given["recipient"], "subject": given["subject"], "body": given["body"]}
        self._add("email", {**row, "inbox/outbox": "outbox", "sent_datetime": NOW})
        return "sent"

    def _forward_email(self, given: Row) -> str:
        mail = self._find("email", given)
        return self._send_email(
            {"recipient": given["recipient"], "subject": f"FW: {mail['subject']}", "body": mail["body"]}
        )

    def _reply_email(self, given: Row) -> str:
        mail = self._find("email", given)
        answer = {"recipient": mail["sender/recipient"], "subject": mail["subject"], "body": given["body"]}
        return self._send_email(answer)

    def _create_plot(self, given: Row) -> str:
        name = "_".join(given[part] for part in ("time_min", "time_max", "value_to_plot", "plot_type"))
        self.plots.append(f"{name}.png")
        return self.plots[-1]

    def _total_visits_count(self, given: Row) -> str:
        return _per_day(self._visits(given), lambda rows: len(rows))

    def _engaged_users_count(self, given: Row) -> str:
        return _per_day([row for row in self._visits(given) if row["user_engaged"] == "True"], lambda rows: len(rows))

    def _traffic_source_count(self, given: Row) -> str:
        source = given.get("traffic_source", "")
        return _per_day([row for row in self._visits(given) if source in row["traffic_source"]], lambda rows: len(rows))

    def _get_average_session_duration(self, given: Row) -> str:
        return _per_day(
            self._visits(given),
            lambda rows: round(sum(float(r["session_duration_seconds"]) for r in rows) / len(rows), 2),
        )

    def _visits(self, given: Row) -> list[Row]:
        first, last = given.get("time_min", ""), given.get("time_max", "9999")
        return [row for row in self.tables["analytics"] if first <= row["date_of_visit"] <= last]


def parse(call: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a call in the data's notation."""
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    name = ast.unparse(node.func).removesuffix(".func")
    return name, {k.arg or "": ast.literal_eval(k.value) for k in node.keywords}


def _holds(row: Row, name: str, value: str) -> bool:
    """Whether a record fits one condition: bounds compare, the words of a query are all there, the rest contains."""
    if name == "query":
        text = " ".join(v for k, v in row.items() if not k.endswith("_id")).lower()
        return all(word in text for word in value.lower().split())
    if name.endswith(("_min", "_max")):
        column = {"time": "event_start", "date": "sent_datetime"}.get(name[:-4], name[:-4])
        there = row[column][: len(value)]
        return bool(there) and (there >= value if name.endswith("_min") else there <= value)
    return value.lower() in row.get(name, "").lower()


def _per_day(rows: list[Row], measure: Callable[[list[Row]], float]) -> str:
    days: dict[str, list[Row]] = {}
    for row in rows:
        days.setdefault(row["date_of_visit"], []).append(row)
    return json.dumps({day: measure(found) for day, found in sorted(days.items())})


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
