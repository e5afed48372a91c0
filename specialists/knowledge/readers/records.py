"""Records: JSON, JSON Lines, CSV and SQLite. Every record or row becomes a section of its own."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ....core.csv_table import parse_csv
from ....core.errors import UnreadableDocument
from ..documents import Document, Outline
from .markup import add_markdown
from .text import add_paragraphs, decode, title_of

_BODY = ("text", "content", "body", "passage", "abstract")
"""Fields that hold running text; the first one present is the record's body."""


_TITLE = ("title", "name", "heading", "subject", "question", "id")
"""Fields that name a record, best first."""


_MARKDOWN = re.compile(r"^#{1,6} \S", re.MULTILINE)


def read_json_lines(path: Path, source: str) -> Document:
    """One JSON value a line. Lines that are none are left out, and noted.

    Raises:
        UnreadableDocument: no line can be read.
    """
    outline = Outline()
    _add_lines(outline, decode(path.read_bytes()))
    return outline.document(source, title_of(source))


def _add_lines(outline: Outline, text: str) -> None:
    bad = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = _load(line, f"line {number}: ")
        except UnreadableDocument as error:
            bad.append(error)
        else:
            _add_record(outline, record, f"record {number}")
    if bad and not outline.length:
        raise bad[0]
    if bad:
        outline.notes.append(f"{len(bad)} line{'s'[: len(bad) > 1]} left out: {bad[0].message}")


def read_json(path: Path, source: str) -> Document:
    """A JSON file: a list of records, or an object whose values are records or lists of them; or JSON Lines."""
    text, outline = decode(path.read_bytes()), Outline()
    try:
        value = _load(text, "")
    except UnreadableDocument:
        if not _begins_with_a_record(text):
            raise
        _add_lines(outline, text)
        return outline.document(source, title_of(source))
    if isinstance(value, list):
        for number, record in enumerate(value, 1):
            _add_record(outline, record, f"record {number}")
    elif isinstance(value, dict) and not any(key in value for key in _BODY):
        _add_object(outline, value)
    else:
        _add_record(outline, value, title_of(source))
    return outline.document(source, title_of(source))


def _begins_with_a_record(text: str) -> bool:
    first, _, rest = text.strip().partition("\n")
    try:
        return bool(rest) and isinstance(_load(first, ""), dict)
    except UnreadableDocument:
        return False


def _load(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableDocument(f"not readable as JSON: {place}{error}") from error


def _add_object(outline: Outline, value: dict[str, Any]) -> None:
    scalars = {key: item for key, item in value.items() if not isinstance(item, (list, dict))}
    if scalars:
        outline.row(list(scalars), [_scalar(item) for item in scalars.values()])
    for key, item in value.items():
        if isinstance(item, (list, dict)) and item:
            outline.heading(1, key)
            records = item.items() if isinstance(item, dict) else enumerate(item, 1)
            for name, record in records:
                _add_record(outline, record, str(name) if isinstance(item, dict) else f"record {name}", level=2)


def _add_record(outline: Outline, record: Any, label: str, level: int = 1) -> None:
    if not isinstance(record, dict):
        record = {"": record}
    flat = {key: text for key, text in _flatten(record, "") if text.strip()}
    named = next((key for key in _TITLE if key in flat and len(flat[key]) <= 200), None)
    body = next((key for key in _BODY if key in flat), None)
    outline.heading(level, flat[named] if named is not None else label)
    rest = {key: text for key, text in flat.items() if key not in (body, named)}
    if rest:
        outline.row(list(rest), list(rest.values()))
    if body is not None:
        add = add_markdown if _MARKDOWN.search(flat[body]) else add_paragraphs
        with outline.below(level):
            add(outline, flat[body])


def _flatten(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for number, item in enumerate(value, 1):
            yield from _flatten(item, f"{path}.{number}")
    else:
        yield path, ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)


def _scalar(value: Any) -> str:
    return "" if value is None else str(value) if not isinstance(value, bool) else str(value).lower()


# CSV files and SQLite databases: every row becomes a line `column: value; column: value`.


_MOST_ROWS = 200_000
"""Rows that are read from one file; more of them belong into a database that a tool asks."""


def read_csv(path: Path, source: str) -> Document:
    """Comma, semicolon, tab or bar separated values, under the names of the header where there is one."""
    try:
        table = parse_csv(decode(path.read_bytes()), "\t" if path.suffix.lower() == ".tsv" else "")
    except ValueError as error:
        raise UnreadableDocument(str(error)) from error
    outline, name = Outline(), title_of(source)
    if table.titles:
        outline.heading(1, name)
        outline.paragraph("\n".join(table.titles))
    columns, rows = (table.columns, table.rows) if table.rows else ((), [table.columns])
    add_rows(outline, name, columns, rows)
    return outline.document(source, name)


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
        if number > _MOST_ROWS:
            raise UnreadableDocument(f"table '{table}' has more than {_MOST_ROWS} rows")
        outline.row(columns, row, label=f"row {number}")


def _cell(value: object) -> str:
    if value is None or isinstance(value, bytes):
        return ""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
