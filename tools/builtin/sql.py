"""The tools `describe_tables` and `query_database`: one SELECT over SQLite, CSV files or PostgreSQL."""

from __future__ import annotations

import os

from langchain_core.tools import BaseTool

from ...core.errors import ConfigError
from ..database import QUERY_ROWS, QUERY_SECONDS, Database, PostgresDatabase, check_select, open_database, show_rows
from ..policy import Effects
from ..sql_meaning import LookedAtColumns, as_meant
from ..tool import ToolContext, declare, tool


def sql(
    context: ToolContext,
    *,
    database: str,
    rows: int = QUERY_ROWS,
    seconds: float = QUERY_SECONDS,
    sensitive: bool = True,
    untrusted: bool = False,
) -> list[BaseTool]:
    """Read-only SQL.

    Args:
        database: a .sqlite file, .csv file or folder of CSV files inside the specialist's folder; or the name of an
            environment variable, as `env:NAME`, that holds a PostgreSQL address (so that no password is in a card).
        rows: rows read at most.
        seconds: time a query may take.
        sensitive: whether the data must not leave.
        untrusted: whether strangers may have written some of it.
    """
    source = connect(context, database, seconds=seconds)
    facts = LookedAtColumns(source)

    @tool
    def query_database(query: str) -> str:
        """Answer one SQL SELECT over the database.

        Args:
            query: a single SELECT statement.
        """
        check_select(query, source.dialect)
        meant, remarks = as_meant(query, source.dialect, facts)
        return "\n".join([show_rows(source.query(meant, rows=rows)), *(f"({remark})" for remark in remarks)])

    @tool
    def describe_tables() -> str:
        """The tables of the database with their columns and types."""
        return describe(source)

    effects = Effects(effect="read", untrusted_output=untrusted, sensitive=sensitive)
    return [declare(query_database, effects), declare(describe_tables, effects.model_copy(update={"sensitive": False}))]


def connect(context: ToolContext, database: str, *, seconds: float = QUERY_SECONDS) -> Database:
    """The database that a card names."""
    if not database.startswith("env:"):
        return open_database(context.path(database), seconds=seconds)
    url = os.environ.get(database[4:], "")
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigError(
            f"{database[4:]} holds no PostgreSQL address", hint="export it as postgresql://user@host/name"
        )
    return PostgresDatabase(url, seconds=seconds)


def describe(database: Database) -> str:
    """`table(column TYPE, …)`, one line per table."""
    return "\n".join(
        f"{table}({', '.join(f'{column} {kind}'.strip() for column, kind in columns.items())})"
        for table, columns in database.schema().items()
    )
