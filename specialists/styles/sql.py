"""Style `sql`: one SELECT over the specialist's database; the rows that it gives are the answer."""

from __future__ import annotations

import math

from ...core.clock import timing
from ...core.errors import MetierError
from ...core.events import Event
from ...core.types import ToolCall
from ..constraint import Select
from ..renderer import NOT_FOUND
from ..sql.database import Table
from ..sql.desk import said
from ..sql.prompt import alike, prompt
from ..work import Draft, Reply, Work

ATTEMPTS = 2
"""A query that fails or finds nothing is mended once, with what happened in view."""


def sql(work: Work) -> Draft:
    """Let the model write short SQL over the tables that fit, run it read-only, and answer with the rows."""
    desk = work.desk
    if desk is None:
        return Draft(text=NOT_FOUND, found=False)
    calls: list[ToolCall] = []
    for _ in range(ATTEMPTS):
        tried = [*work.brief.facts, *(f"{c.arguments['query']} failed: {c.error};" for c in calls)]
        shots = alike(work.brief.task, desk.solved) if not calls else []
        instructions = work.card.instructions
        messages, linked = prompt(work.brief.task, desk.catalogue, shots, instructions=instructions, facts=tried)
        reply = work.ask(messages, Select([column.path for column in linked.columns]))
        call, found = _run(work, reply)
        calls.append(call)
        if found is not None:
            citation = desk.cite(call.arguments["query"], found)
            rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
            sure = _sure(reply, work)
            return Draft(_text(found), True, (citation,), rows, reply.certainty, sure, tuple(calls))
    return Draft(text=NOT_FOUND, found=False, tool_calls=tuple(calls))


def _run(work: Work, reply: Reply) -> tuple[ToolCall, Table | None]:
    """What came of a query; no rows where it failed or found nothing."""
    assert work.desk is not None
    query, found, error = reply.text, None, "no rows"
    with timing("tool"):
        try:
            query, rows = work.desk.run(work.brief.task, reply.text)
            found = rows if any(value is not None for row in rows.rows for value in row) else None
        except MetierError as failed:
            error = failed.message
    result = _text(found) if found else ""
    call = ToolCall(name="query_database", arguments={"query": query}, result=result, error=None if found else error)
    seen = {"name": call.name, "arguments": call.arguments, "error": call.error}
    work.emit(Event(name="tool", specialist=work.card.name, data=seen))
    return call, found


def _text(found: Table) -> str:
    """One value as it is, one column as a list, more columns row by row."""
    rows = [" | ".join(map(said, row)) for row in found.rows]
    more = "" if found.complete else " …"
    return (", " if len(found.columns) == 1 else "\n").join(rows) + more


def _sure(reply: Reply, work: Work) -> float | None:
    """Probability of the whole query, as the model sees it."""
    if "logprob" not in reply.certainty:
        return None
    return math.exp(reply.certainty["logprob"] * max(1, work.engine.count(reply.text)))
