"""Databases that can only be read: SQLite files, CSV files held in memory, PostgreSQL. Rows and time are limited.

A query is parsed first, and runs only when it is one SELECT. Behind that, each enough for most attacks, SQLite has a
connection opened read-only, `query_only`, and an authorizer that allows nothing but reading; PostgreSQL has a read-only
transaction, and should have a role that may only SELECT.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ..core.errors import MissingExtra, ToolDenied, ToolError
from ..core.types import Value
from .csv_files import SUFFIXES, find_csv, load_csv, table_name

_log = logging.getLogger(__name__)

QUERY_ROWS = 1000
"""Rows of one query that are read, unless fewer are asked for."""

QUERY_SECONDS = 5.0
"""Time that one query may take."""

_SHOWN_ROWS = 10
_CELL_CHARACTERS = 80
_MAX_VALUE_BYTES = 1_000_000

NUMBER_TYPE = r"int|real|num|dec|double|float|money|serial"
"""A declared type that means numbers has one of these in it."""

Dialect = Literal["sqlite", "postgres"]

Schema = dict[str, dict[str, str]]
"""Table → column → declared type."""


class QueryResult(Value):
    """The rows that a query gave."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    complete: bool = True
    """False: there were more rows than the limit, and the rest was not read."""

    def __str__(self) -> str:
        return show_rows(self)


def show_rows(result: QueryResult, rows: int = _SHOWN_ROWS) -> str:
    """For a small model, which reads a few rows and a count, not a dump: columns, first rows, how many there are."""
    total = f"{len(result.rows)}{'' if result.complete else ' or more'}"
    if not result.rows:
        return "0 rows"
    lines = [" | ".join(result.columns), *(" | ".join(map(_cell, row)) for row in result.rows[:rows])]
    shown = "" if len(result.rows) <= rows else f", first {rows} shown"
    return "\n".join([*lines, f"({total} row{'' if total == '1' else 's'}{shown})"])


def show_value(value: Any) -> str:
    """A value as people read it; nothing for NULL."""
    return "" if value is None else format(value, ".12g") if isinstance(value, float) else str(value)


def _cell(value: Any) -> str:
    """On one line, cut off where it is long."""
    text = "NULL" if value is None else " ".join(show_value(value).split())
    return text if len(text) <= _CELL_CHARACTERS else f"{text[: _CELL_CHARACTERS - 1]}…"


def same_rows(result: QueryResult, truth: QueryResult, *, ordered: bool) -> bool:
    """Whether two results hold the same rows: execution match. Columns by position, numbers to nine digits.

    Args:
        ordered: The order of rows counts.
    """
    rows, expected = ([tuple(map(_rounded, row)) for row in some.rows] for some in (result, truth))
    return rows == expected if ordered else Counter(rows) == Counter(expected)


def _rounded(value: Any) -> Any:
    """Sums of floats differ with the order of rows."""
    return float(f"{value:.9g}") if isinstance(value, (int, float)) else value


def quote_name(name: str) -> str:
    """A table's or column's name in quotes."""
    return '"' + name.replace('"', '""') + '"'


# Is a text one query that only reads? Decided on the parsed tree, not on words in the text.

_FORBIDDEN = (
    exp.Insert,
    exp.Update,
    exp.Delete,
    exp.Merge,
    exp.Create,
    exp.Command,
    exp.Into,
    exp.Lock,
    exp.Pragma,
    exp.Attach,
    exp.Detach,
    exp.Set,
    exp.Transaction,
    exp.Commit,
    exp.Rollback,
    exp.Alter,
    exp.Drop,
    exp.TruncateTable,
    exp.Copy,
    exp.Use,
    exp.Kill,
)

_EXTRA_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
        total julianday unixepoch strftime printf glob likelihood likely unlikely typeof quote hex unhex instr unicode
        char date time datetime ltrim rtrim random changes nullif iif ifnull sign ln log2 mod pi power sqrt exp ceil
        floor to_char to_date to_number to_timestamp date_part age make_date regexp_matches regexp_count btrim initcap
        string_to_array array_length array_to_string json_array_length json_extract json_each json_group_array
        percent_rank cume_dist similarity width_bucket split_part strpos translate left right
        """,
    )
)
"""Functions beyond those that sqlglot knows by type; whatever is not listed (pg_read_file, dblink, …) is refused."""


def check_select(query: str, dialect: Dialect = "sqlite") -> exp.Query:
    """The parsed query, when it is exactly one statement that only reads.

    Raises:
        ToolError: it cannot be parsed.
        ToolDenied: it is more than one statement, or does anything but read.
    """
    try:
        statements = [s for s in sqlglot.parse(query, read=dialect) if s is not None]
    except (SqlglotError, RecursionError) as error:
        raise ToolError(f"not valid SQL: {str(error).splitlines()[0][:200]}") from None
    if len(statements) != 1:
        raise ToolDenied(f"{len(statements)} statements, exactly one SELECT is allowed")
    statement = statements[0]
    if not isinstance(statement, exp.Query):
        raise ToolDenied(f"{statement.key.upper()} is not allowed, only SELECT")
    for node in statement.walk():
        if isinstance(node, _FORBIDDEN):
            raise ToolDenied(f"{node.key.upper()} inside the query is not allowed, only SELECT")
        if isinstance(node, exp.Anonymous) and node.name.lower() not in _EXTRA_FUNCTIONS:
            raise ToolDenied(f"the function {node.name}() is not allowed")
    return statement


class Database(ABC):
    """A database to ask. Only one SELECT at a time gets through.

    Another kind of database is a subclass that says its dialect, its schema, and how rows are fetched.
    """

    dialect: Dialect

    def query(self, sql: str, parameters: Sequence[Any] = (), rows: int = QUERY_ROWS) -> QueryResult:
        """At most `rows` rows of one SELECT.

        Raises:
            ToolDenied: not exactly one statement that only reads.
            ToolError: the database rejects the query, or it takes too long.
        """
        return self.fetch(sql, check_select(sql, self.dialect), parameters, rows)

    @abstractmethod
    def schema(self) -> Schema:
        """All tables and their columns."""

    @abstractmethod
    def fetch(self, sql: str, statement: exp.Query, parameters: Sequence[Any], rows: int) -> QueryResult:
        """At most `rows` rows of a query that was found to do nothing but read; `statement` is what it was parsed to.

        Raises:
            ToolError: the database rejects the query, or it takes too long.
        """


def _result(columns: Sequence[str], fetched: Sequence[Sequence[Any]], rows: int) -> QueryResult:
    """Of one row more than wanted, which shows whether there are more."""
    kept = tuple(tuple(map(_sayable, row)) for row in fetched[:rows])
    return QueryResult(columns=tuple(columns), rows=kept, complete=len(fetched) <= rows)


def _sayable(value: Any) -> Any:
    """A value that can be shown and saved: of bytes their text, or how many they are."""
    if isinstance(value, bytes | memoryview):
        data = bytes(value)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = ""
        return text if text and text.isprintable() else f"({len(data)} bytes)"
    return value


# SQLite files, and CSV files held in memory.


_ALLOWED = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE))

_FORBIDDEN_FUNCTIONS = frozenset(("load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"))


class SqliteDatabase(Database):
    """A SQLite file, or tables in memory."""

    dialect = "sqlite"

    def __init__(self, path: Path, *, seconds: float = QUERY_SECONDS) -> None:
        """Open an existing file for reading.

        Raises:
            ToolError: there is no such file, or it is not a SQLite database.
        """
        if not path.is_file():
            raise ToolError(f"no database at {path}", hint="give the path of an existing .sqlite file")
        self._open(f"file:{quote(str(path.resolve()))}?mode=ro", None, seconds)

    @classmethod
    def of_csv(cls, files: Mapping[str, Path], *, seconds: float = QUERY_SECONDS) -> SqliteDatabase:
        """Tables in memory, one per CSV file, named as given; numbers and dates become such."""
        memory = sqlite3.connect(":memory:", check_same_thread=False)
        load_csv(memory, files)
        database = cls.__new__(cls)
        database._open("", memory, seconds)
        return database

    def _open(self, uri: str, memory: sqlite3.Connection | None, seconds: float) -> None:
        self._uri, self._memory, self._seconds, self._lock = uri, memory, seconds, threading.Lock()
        self._schema = self._read_schema()

    def schema(self) -> Schema:
        """All tables and views, read once."""
        return self._schema

    def fetch(self, sql: str, statement: exp.Query, parameters: Sequence[Any], rows: int) -> QueryResult:
        with self._connection() as connection:
            deadline = time.monotonic() + self._seconds
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 1000)
            try:
                cursor = connection.execute(sql, parameters)
                fetched = cursor.fetchmany(rows + 1)
            except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
                late = time.monotonic() > deadline
                raise ToolError(f"the query took over {self._seconds} s" if late else f"SQLite: {error}") from None
            if cursor.description is None:
                raise ToolError("this gives no rows: only a SELECT does")
            return _result([d[0] for d in cursor.description], fetched, rows)

    def _read_schema(self) -> Schema:
        with self._connection(guarded=False) as connection:
            try:
                names = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
            except sqlite3.DatabaseError as error:
                raise ToolError(f"not a SQLite database: {error}") from None
            tables = {name: _columns_of(connection, name) for (name,) in names if not name.startswith("sqlite_")}
        return {name: columns for name, columns in tables.items() if columns}

    @contextmanager
    def _connection(self, guarded: bool = True) -> Iterator[sqlite3.Connection]:
        if self._memory is not None:
            with self._lock:
                _guard(self._memory, guarded)
                yield self._memory
            return
        with closing(sqlite3.connect(self._uri, uri=True)) as connection:
            connection.text_factory = _text
            _guard(connection, guarded)
            yield connection


def _columns_of(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """Columns, computed ones too, and their declared types; none where a view or a module of SQLite is broken."""
    columns = "SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden <> 1"  # 1: hidden columns of virtual tables
    try:
        found = dict(connection.execute(columns, (table,)).fetchall())
        connection.execute(f"SELECT 1 FROM {quote_name(table)} LIMIT 0")
    except sqlite3.DatabaseError as error:
        _log.warning("left out: %s cannot be read (%s)", table, error)
        return {}
    return found


def _text(data: bytes) -> str:
    """SQLite does not check that texts are UTF-8; those of old programs are not."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _guard(connection: sqlite3.Connection, on: bool) -> None:
    connection.set_authorizer(None)
    connection.execute("PRAGMA query_only = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    if on:
        connection.set_authorizer(_authorize)


def _authorize(action: int, first: str | None, second: str | None, *_: Any) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and second in _FORBIDDEN_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def open_database(place: Path, *, seconds: float = QUERY_SECONDS) -> SqliteDatabase:
    """A `.sqlite` file, a `.csv` or `.tsv` file, or a folder of those (one table each, named as the file).

    Raises:
        ToolError: there is no such file, or it cannot be read.
    """
    if place.is_dir():
        files = find_csv(place)
        if not files:
            raise ToolError(f"no CSV file in {place}", hint="give the path of a .sqlite file or a folder of .csv files")
        return SqliteDatabase.of_csv(files, seconds=seconds)
    if place.suffix.lower() in SUFFIXES and place.is_file():
        return SqliteDatabase.of_csv({table_name(place): place}, seconds=seconds)
    return SqliteDatabase(place, seconds=seconds)


# PostgreSQL (extra `postgres`).


class PostgresDatabase(Database):
    """One read-only transaction per query, with a statement timeout.

    What runs is the parsed query written out again, so that nothing the parser read differently gets through. Give it a
    role that may only SELECT: that is the lock which does not depend on this code.
    """

    dialect = "postgres"

    def __init__(self, url: str, *, seconds: float = QUERY_SECONDS) -> None:
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
        columns = self._execute(
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

    def fetch(self, sql: str, statement: exp.Query, parameters: Sequence[Any], rows: int) -> QueryResult:
        return self._execute(statement.sql("postgres"), parameters, rows)

    def _execute(self, sql: str, parameters: Sequence[Any], rows: int) -> QueryResult:
        options = f"-c default_transaction_read_only=on -c statement_timeout={int(self._seconds * 1000)}"
        try:
            with self._psycopg.connect(self._url, options=options, connect_timeout=5) as connection:
                connection.read_only = True
                cursor = connection.execute(sql.encode(), parameters or None)
                fetched = cursor.fetchmany(rows + 1)
                columns = [d.name for d in cursor.description or ()]
                connection.rollback()
        except self._psycopg.Error as error:
            raise ToolError(f"PostgreSQL: {str(error).strip()}") from None
        return _result(columns, fetched, rows)
