"""What the plant's workflows look up and draw: the breakdowns of a week as rows, and their hours as a chart."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date, timedelta
from typing import Any

from langchain_core.tools import BaseTool

from metier.tools.builtin.plot import draw
from metier.tools.tool import ToolContext, tool

_BREAKDOWNS = """
SELECT work_order, machine, task, hours FROM work_orders
WHERE kind = 'breakdown' AND opened >= ? AND opened < ? ORDER BY hours DESC, work_order LIMIT ?
"""


def week(context: ToolContext) -> list[BaseTool]:
    """`breakdowns` and `chart_of_hours`. Without matplotlib (extra `plot`) only the chart fails, when it is called."""
    stock = context.root.parent / "stock" / "documents" / "stock.sqlite"
    output = context.output or context.path("output")

    @tool(effect="read", untrusted_output=False, sensitive=False)
    def breakdowns(monday: str, at_most: int = 10) -> list[dict[str, Any]]:
        """The breakdowns that were opened in a week, the longest first.

        Args:
            monday: first day of the week, as 2026-10-19.
            at_most: rows.
        """
        first = date.fromisoformat(monday)
        with closing(sqlite3.connect(f"{stock.as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            days = (first.isoformat(), (first + timedelta(days=7)).isoformat())
            return [dict(row) for row in database.execute(_BREAKDOWNS, (*days, at_most))]

    @tool(effect="read", untrusted_output=False, sensitive=False)
    def chart_of_hours(labels: list[str], values: list[float], title: str = "") -> str:
        """Draw hours as bars and get the path of the PNG.

        Args:
            labels: one per value.
            values: hours.
            title: stands above the chart.
        """
        return str(draw(output, "bar", labels, values, title))

    return [breakdowns, chart_of_hours]
