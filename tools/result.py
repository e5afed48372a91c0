"""What tools give back, made short: a small model reads a few rows and a count, not a dump."""

from __future__ import annotations

from typing import Any

from ..core.types import Value

SHOWN_ROWS = 10
CELL_CHARACTERS = 80
RESULT_CHARACTERS = 2000


class Rows(Value):
    """A table that came back from a query."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    complete: bool = True
    """False: there were more rows than the limit, and the rest was not read."""

    def __str__(self) -> str:
        return show(self)


def show(table: Rows, rows: int = SHOWN_ROWS) -> str:
    """The first rows as `a | b` lines under a header, and how many there are in all."""
    total = f"{len(table.rows)}{'' if table.complete else ' or more'}"
    if not table.rows:
        return "0 rows"
    lines = [" | ".join(table.columns), *(" | ".join(map(_cell, row)) for row in table.rows[:rows])]
    shown = "" if len(table.rows) <= rows else f", first {rows} shown"
    return "\n".join([*lines, f"({total} row{'' if total == '1' else 's'}{shown})"])


def shorten(text: str, limit: int = RESULT_CHARACTERS) -> str:
    """At most `limit` characters, cut at a line or word, with what is missing said at the end."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    cut = max(head.rfind("\n"), head.rfind(" "), int(limit * 0.8))
    return f"{head[:cut].rstrip()}\n… ({len(text) - cut} more characters)"


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    text = format(value, ".12g") if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= CELL_CHARACTERS else f"{text[: CELL_CHARACTERS - 1]}…"
