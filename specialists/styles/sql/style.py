"""Style `sql`: one SELECT over the specialist's database; the rows that it gives are the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ....core.errors import BudgetExceeded, MetierError
from ....core.run import Event, timing
from ....core.types import ToolCall
from ....tools.database import QueryResult, show_value
from ...engines.engine import Select
from ...prompt import NOT_FOUND
from ...work import Draft, Reply, Work
from .prompt import alike, prompt
from .source import SqlSource

ATTEMPTS = 5
"""Queries at most: the likeliest one, and others while something speaks against those before."""

TEMPERATURE = 0.7
"""Of the others; their seeds are fixed."""

FAILED = 9
"""Doubts about a query that fails or finds nothing."""

DOUBTED = 0.3
"""What remains of the probability of a query that something speaks against."""


class Try(NamedTuple):
    """A query and what came of it."""

    reply: Reply
    call: ToolCall
    found: QueryResult | None
    """None where it failed or found nothing."""
    doubts: int


def sql(work: Work) -> Draft:
    """Let the model write short SQL over the tables that fit, run it read-only, and answer with the rows.

    A query that `objections` has nothing against is taken as it is; among several, the one with the fewest doubts.
    """
    desk = work.desk
    if desk is None:
        return Draft(text=NOT_FOUND, found=False)
    tries: list[Try] = []
    while len(tries) < ATTEMPTS and (not tries or tries[-1].doubts):
        try:
            tries.append(_try(work, desk, tries))
        except BudgetExceeded:
            if not tries:
                raise
            break
    best = min(tries, key=lambda t: (t.doubts, 1 - (_sure(t, work) or 0.0)))
    calls = (*(t.call for t in tries if t is not best), best.call)
    if best.found is None:
        return Draft(text=NOT_FOUND, found=False, tool_calls=calls)
    citation = desk.cite(best.call.arguments["query"], best.found)
    rows = [dict(zip(best.found.columns, row, strict=True)) for row in best.found.rows]
    return Draft(_text(best.found), True, (citation,), rows, best.reply.certainty, _sure(best, work), calls)


def _try(work: Work, desk: SqlSource, before: Sequence[Try]) -> Try:
    """One more query: with the errors in view where all before failed, else another one of the same model."""
    failed = [t for t in before if t.found is None]
    errors = failed if len(failed) == len(before) else []
    shots = alike(work.brief.task, desk.solved) if not errors else []
    facts = [*work.brief.facts, *(f"{t.call.arguments['query']} failed: {t.call.error};" for t in errors[:1])]
    instructions = work.card.instructions
    messages, linked = prompt(work.brief.task, desk.catalogue, shots, instructions=instructions, facts=facts)
    sampling = {"temperature": TEMPERATURE, "seed": len(before)} if len(before) > len(errors[:1]) else {}
    reply = work.ask(messages, Select([column.path for column in linked.columns]), **sampling)
    return _run(work, desk, reply)


def _run(work: Work, desk: SqlSource, reply: Reply) -> Try:
    """What came of a query."""
    query, found, doubts, error = reply.text, None, FAILED, "no rows"
    with timing("tool"):
        try:
            query, rows, signs = desk.run(work.brief.task, reply.text)
            if any(value is not None for row in rows.rows for value in row):
                found, doubts = rows, signs
        except MetierError as failed:
            error = failed.message
    result = _text(found) if found else ""
    call = ToolCall(name="query_database", arguments={"query": query}, result=result, error=None if found else error)
    seen = {"name": call.name, "arguments": call.arguments, "error": call.error}
    work.emit(Event(name="tool", specialist=work.card.name, data=seen))
    return Try(reply, call, found, doubts)


def _text(found: QueryResult) -> str:
    """One value as it is, one column as a list, more columns row by row."""
    rows = [" | ".join(map(show_value, row)) for row in found.rows]
    more = "" if found.complete else " …"
    return (", " if len(found.columns) == 1 else "\n").join(rows) + more


def _sure(one: Try, work: Work) -> float | None:
    """Probability of the whole query, as the model sees it; less where something speaks against it."""
    if "logprob" not in one.reply.certainty:
        return None
    likely = math.exp(one.reply.certainty["logprob"] * max(1, work.engine.count(one.reply.text)))
    return likely * (DOUBTED if one.doubts else 1.0)
