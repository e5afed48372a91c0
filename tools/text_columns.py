"""Numbers and dates that a database keeps as text: the SQL that reads them, so that they compare as what they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.cells import Dates, Numbers, dates, doubtful_dates, is_date, is_missing, is_number, numbers

_MARKS = 6
"""Different characters beside digits that are taken out of a number; more make the SQL unreadable."""


@dataclass(frozen=True)
class TextColumn:
    """What the texts of a column are."""

    numbers: Numbers | None
    dates: Dates | None
    doubt: str
    """Why they cannot be compared, although they look like numbers or dates; empty where nothing is wrong."""
    _sql: str
    """The SQL that reads one, with `{}` for the column."""

    @property
    def plain(self) -> bool:
        """Nothing has to be read: they are words, or in order as they are."""
        return not self.doubt and self._sql == "{}"

    def sql(self, column: str) -> str:
        """SQL that gives a number, or a date as YYYY-MM-DD; words as they are."""
        return self._sql.format(column)

    def value(self, text: str) -> str | int | float:
        """What the column is compared with, read in the same way; words as they are."""
        way = self.numbers or self.dates
        read = way.read(text) if way else None
        return text if read is None else read


def text_column(values: Sequence[str]) -> TextColumn:
    """What the texts of a column are, told by many of them. A text that cannot be read makes it words."""
    present = [value for value in values if not is_missing(value)]
    if found := numbers(values):
        sql = _number_sql(found, values)
        return TextColumn(found, None, "" if sql else f"its numbers are text{_such_as(present)}", sql or "{}")
    if found := dates(values):
        sql = _date_sql(found)
        return TextColumn(None, found, "" if sql else f"its dates are text{_such_as(present)}", sql or "{}")
    return TextColumn(None, None, _doubt(present), "{}")


def _doubt(present: Sequence[str]) -> str:
    if doubtful_dates(present):
        return f"its dates may have the day or the month first{_such_as(present)}"
    for what, fits in (("numbers", is_number), ("dates", is_date)):
        good = sum(map(fits, present))
        if good > 1 and good >= 0.8 * len(present):
            odd = [value for value in present if not fits(value)]
            return f"its {what} are text, written in several ways{_such_as(odd or present)}"
    return ""


def _such_as(values: Sequence[str]) -> str:
    return f" (such as '{values[0][:40]}')" if values else ""


def _number_sql(found: Numbers, values: Sequence[str]) -> str:
    """Marks taken out, the decimal comma made a full stop; nothing for numbers that this does not read."""
    missing = sorted({value for value in values if value and is_missing(value)})
    present = [value for value in values if not is_missing(value)]
    marks = sorted({mark for value in present for mark in value} - {*"0123456789-", found.decimal})
    odd = any(re.search(r"[()−]|\d-|[.,][-–—]", value) or re.search(r"\d[eE][-+]?\d", value) for value in present)
    if (odd and not found.plain) or len(marks) > _MARKS or len(missing) > _MARKS:
        return ""
    sql = "{}"
    for text in missing:
        sql = f"NULLIF({sql}, {_literal(text)})"
    for mark in marks if not found.plain else []:
        sql = f"REPLACE({sql}, {_literal(mark)}, '')"
    if found.decimal == "," and not found.whole:
        sql = f"REPLACE({sql}, ',', '.')"
    return f"CAST({sql} AS {'INTEGER' if found.whole else 'REAL'})"


def _date_sql(found: Dates) -> str:
    """The parts of a date put in order; nothing where they have no fixed places."""
    if found.iso:
        return "{}"
    day, month = (1, 4) if found.padded.startswith("DD") else (4, 1)
    parts = f"SUBSTR({{0}}, 7, 4) || '-' || SUBSTR({{0}}, {month}, 2) || '-' || SUBSTR({{0}}, {day}, 2)"
    return f"({parts} || SUBSTR({{0}}, 11))" if found.padded else ""


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''").replace("{", "{{").replace("}", "}}") + "'"
