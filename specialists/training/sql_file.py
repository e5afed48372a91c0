"""A SQLite file as training reads it: gold queries are trusted. What answers people runs them through `tools`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from ...core.errors import ToolError

MOST_STEPS = 50_000_000
"""Instructions of SQLite's machine after which a query is given up."""


class Found(NamedTuple):
    """Rows that came back: a `Table`."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    complete: bool


class SqliteFile:
    """A `Database` over one file, opened read-only for each query."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._uri = f"{path.resolve().as_uri()}?mode=ro"
        tables = self.query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").rows
        described = "SELECT name, type FROM pragma_table_info(?)"
        self._schema = {t: {str(c): str(k) for c, k in self.query(described, (t,)).rows} for (t,) in tables}

    def schema(self) -> Mapping[str, Mapping[str, str]]:
        return self._schema

    def query(self, sql: str, parameters: Sequence[Any] = (), rows: int = 1000) -> Found:
        """Raises ToolError when SQLite rejects it."""
        with closing(sqlite3.connect(self._uri, uri=True)) as connection:
            left = [MOST_STEPS // 100_000]

            def tired() -> bool:
                left[0] -= 1
                return left[0] < 0

            connection.set_progress_handler(tired, 100_000)
            try:
                cursor = connection.execute(sql, parameters)
                found = cursor.fetchmany(rows + 1)
            except (sqlite3.Error, sqlite3.Warning) as error:
                raise ToolError(f"SQLite: {error}") from None
            return Found([d[0] for d in cursor.description or ()], found[:rows], len(found) <= rows)
