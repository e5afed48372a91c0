"""CSV files as other programs write them: encoding, separator, title lines and header, told from many lines."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .cells import is_date, is_missing, is_number

SEPARATORS = ",;\t|"
_SAMPLE = 65_536
"""Characters from which the separator is told."""
_LONG_CELL = 200
"""Lines in one cell from which a quote is taken for a stray one, not for the begin of a quoted cell."""
_YEAR = re.compile(r"(?:19|20)\d\d")
_NAMED_SEPARATOR = re.compile(r"\A\ufeff?\"?sep=(.)\"?[ \t]*\r?\n", re.IGNORECASE)


@dataclass(frozen=True)
class CsvTable:
    """A table out of a text file."""

    columns: tuple[str, ...]
    """Names of the columns; empty when the file has no header line."""
    rows: list[list[str]]
    """Cells as they stand there; a row may be shorter or longer than `columns`. Empty rows are left out."""
    titles: tuple[str, ...] = ()
    """Lines above the header."""
    separator: str = ","


def decode_text(data: bytes) -> str:
    """Bytes to text: UTF-8, UTF-16 (also without its byte order mark), else Windows' cp1252.

    Raises:
        ValueError: binary data.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    head = data[:8192]
    if b"\0" in head:
        odd, even = head[1::2].count(0), head[::2].count(0)
        if max(odd, even) < 0.3 * len(head) / 2 or min(odd, even) > 0.05 * len(head) / 2:
            raise ValueError("it is a binary file, not text")
        return data.decode("utf-16-le" if odd > even else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def parse_csv(text: str, separator: str = "") -> CsvTable:
    """The table in a CSV text. Without a `separator`, the first line may name it (`sep=;`), else all lines tell it.

    Raises:
        ValueError: not readable as CSV.
    """
    named = _NAMED_SEPARATOR.match(text)
    text = text[named.end() :] if named else text
    separator = separator or (named[1] if named else find_separator(text))
    rows = [[cell.strip() for cell in row] for row in _rows(text, separator)]
    rows = [row for row in rows if any(row)]
    first = _first_row(rows)
    titles = tuple(" ".join(filter(None, row)) for row in rows[:first])
    rows = rows[first:]
    if not _has_header(rows):
        return CsvTable((), rows, titles, separator)
    return CsvTable(tuple(rows[0]), rows[1:], titles, separator)


def find_separator(text: str) -> str:
    """The character that cuts the lines into rows of one length, with cells that look whole."""
    sample = text[:_SAMPLE]
    if len(text) > _SAMPLE:
        sample = sample[: sample.rfind("\n") + 1] or sample
    return max(SEPARATORS, key=lambda separator: _fit(sample, separator))


def _fit(sample: str, separator: str) -> tuple[float, int]:
    """How well a separator fits, then the number of columns."""
    try:
        rows = [row for row in csv.reader(io.StringIO(sample), delimiter=separator, strict=True) if any(row)]
        torn = False
    except csv.Error:
        rows = [line.split(separator) for line in sample.splitlines() if line.strip()]
        torn = True
    if not rows:
        return 0.0, 0
    columns, often = Counter(map(len, rows)).most_common(1)[0]
    if columns == 1:
        return 0.0, 1
    others = SEPARATORS.replace(separator, "")
    cells = [cell for row in rows for cell in row if cell]
    whole = sum(not _looks_torn(cell, others) for cell in cells) / max(1, len(cells))
    return often / len(rows) * (0.25 if torn else 1.0) * whole**2, columns


def _looks_torn(cell: str, others: str) -> bool:
    """Another separator stands between two letters or digits, and it is no number."""
    return bool(re.search(rf"\S[{re.escape(others)}]\S", cell)) and not is_number(cell)


def _rows(text: str, separator: str) -> list[list[str]]:
    csv.field_size_limit(max(len(text), 131_072))
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        if any(cell.count("\n") > _LONG_CELL for row in rows for cell in row):
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=csv.QUOTE_NONE))
    except csv.Error as error:
        raise ValueError(f"not readable as CSV: {error}") from error
    return rows


def _first_row(rows: Sequence[Sequence[str]]) -> int:
    """Index of the first row that belongs to the table: title lines above it fill few of its cells."""
    filled = [sum(map(bool, row)) for row in rows]
    usual = Counter(filled).most_common(1)[0][0] if filled else 0
    return next((index for index, count in enumerate(filled) if 2 * count > usual), 0)


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """False when the first row is made of the same as those below it: numbers over numbers, and no name over them."""
    if len(rows) < 2:
        return bool(rows) and not any(map(_kind, rows[0]))
    same = 0
    for place, name in enumerate(rows[0]):
        values = [row[place] for row in rows[1:] if place < len(row) and not is_missing(row[place])]
        kind, often = Counter(map(_kind, values)).most_common(1)[0] if values else ("", 0)
        if not kind or often < 0.8 * len(values):
            continue
        year = _YEAR.fullmatch(name) and not all(map(_YEAR.fullmatch, values))
        if _kind(name) != kind or year:
            return True
        same += 1
    return same == 0


def _kind(cell: str) -> str:
    """`number`, `date`, or nothing for any other text."""
    return "number" if is_number(cell) else "date" if is_date(cell) else ""
