"""CSV files and SQLite databases: every row becomes a line `column: value; column: value`."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from ....core.errors import UnreadableDocument
from ..document import Document, Outline
from .text import decode, title_of

MAX_ROWS = 200_000
"""Rows that are read from one file; more of them belong into a database that a tool asks."""


def read_csv(path: Path, source: str) -> Document:
    """Comma, semicolon or tab separated values; the first row names the columns."""
    text = decode(path.read_bytes())
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=first.count) if path.suffix.lower() != ".tsv" else "\t"
    csv.field_size_limit(max(len(text), 131_072))
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(map(str.strip, row))]
    except csv.Error as error:
        raise UnreadableDocument(f"not readable as CSV: {error}") from error
    outline = Outline()
    columns = [name.strip() for name in rows[0]] if rows else []
    add_rows(outline, title_of(source), columns, rows[1:] or rows)
    return outline.document(source, title_of(source))


def read_sqlite(path: Path, source: str) -> Document:
    """All tables of an SQLite database, opened read-only."""
    outline = Outline()
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
            database.text_factory = lambda data: data.decode("utf-8", errors="replace")
            names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
            for (table,) in database.execute(names).fetchall():
                rows = database.execute('SELECT * FROM "{}"'.format(table.replace('"', '""')))
                columns = [column[0] for column in rows.description]
                add_rows(outline, table, columns, ([_cell(value) for value in row] for row in rows))
    except sqlite3.Error as error:
        raise UnreadableDocument(f"not readable as an SQLite database: {error}") from error
    return outline.document(source, title_of(source))


def add_rows(outline: Outline, table: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table under its name, each row below a heading of its own, so that it becomes a passage of its own."""
    for number, row in enumerate(rows, 1):
        if number == 1:
            outline.heading(1, table)
        if number > MAX_ROWS:
            raise UnreadableDocument(f"table '{table}' has more than {MAX_ROWS} rows")
        outline.row(columns, row, label=f"row {number}")


def _cell(value: object) -> str:
    if value is None or isinstance(value, bytes):
        return ""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
