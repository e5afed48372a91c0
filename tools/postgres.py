"""A PostgreSQL database that can only be read (extra `postgres`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlglot import exp

from ..core.errors import MissingExtra, ToolError
from .database import MAX_SECONDS, Database, Schema
from .result import Rows


class PostgresDatabase(Database):
    """One read-only transaction per query, with a statement timeout.

    What runs is the parsed query written out again, so that nothing the parser read differently gets through. Give it a
    role that may only SELECT: that is the lock which does not depend on this code.
    """

    dialect = "postgres"

    def __init__(self, url: str, *, seconds: float = MAX_SECONDS) -> None:
        """Connect once to read the schema; later each query has its own connection.

        Raises:
            MissingExtra: psycopg is not installed.
            ToolError: the server cannot be reached.
        """
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("psycopg", "postgres") from None
        self._psycopg, self._url, self._seconds = psycopg, url, seconds
        columns = self._fetch(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY table_name, ordinal_position",
            (),
            100_000,
        )
        self._schema: Schema = {}
        for table, column, kind in columns.rows:
            self._schema.setdefault(table, {})[column] = kind

    def schema(self) -> Schema:
        """All tables and views the role may see, read once."""
        return self._schema

    def _run(self, sql: str, statement: exp.Query, parameters: Sequence[Any], rows: int) -> Rows:
        return self._fetch(statement.sql("postgres"), parameters, rows)

    def _fetch(self, sql: str, parameters: Sequence[Any], rows: int) -> Rows:
        options = f"-c default_transaction_read_only=on -c statement_timeout={int(self._seconds * 1000)}"
        try:
            with self._psycopg.connect(self._url, options=options, connect_timeout=5) as connection:
                connection.read_only = True
                cursor = connection.execute(sql.encode(), parameters or None)
                found = cursor.fetchmany(rows + 1)
                columns = tuple(d.name for d in cursor.description or ())
                connection.rollback()
        except self._psycopg.Error as error:
            raise ToolError(f"PostgreSQL: {str(error).strip()}") from None
        return Rows(columns=columns, rows=tuple(map(tuple, found[:rows])), complete=len(found) <= rows)
