"""Opens what a team remembers: its threads, its facts, what was asked of it, at the addresses in its card."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ..core.database import SqliteState, StateDatabase
from ..core.embedding import Embedder
from ..core.errors import ConfigError, MissingExtra, unknown
from ..core.settings import secret_value
from .facts import Facts
from .records import RECORDS_FILE, RECORDS_SCHEMA, Records
from .store import FactStore, SqliteFacts
from .threads import SqliteThreads, ThreadSaver

_PATIENCE = 20.0
"""Seconds for which an unreachable PostgreSQL is asked again."""


def open_checkpoints(kind: str, folder: Path) -> ThreadSaver | None:
    """Where the threads of a team are saved, so that a conversation survives the process.

    Args:
        kind: `sqlite` keeps `folder/threads.sqlite`, `postgresql://…` uses that database, `env:NAME` reads the
            address from a variable (so that no password stands in a card), `none` keeps nothing.
        folder: Where the team keeps its state.

    Raises:
        ConfigError: there is no such kind, or the variable is not set.
        MissingExtra: PostgreSQL without the extra `postgres`.
        StateError: the store cannot be opened.
    """
    address = _address(kind, "checkpoint store", "memory.checkpoints")
    if address == "none":
        return None
    if address == "sqlite":
        return SqliteThreads(folder / "threads.sqlite")
    try:
        from .postgres import PostgresThreads
    except ImportError:
        raise MissingExtra("langgraph-checkpoint-postgres", "postgres") from None
    return PostgresThreads(address)


def open_facts(kind: str, folder: Path, embedder: Embedder | None = None, *, days: float | None = None) -> Facts | None:
    """What a team knows of its users.

    Args:
        kind: As for `open_checkpoints`; `sqlite` keeps `folder/facts.sqlite`.
        folder: Where the team keeps its state.
        embedder: None for what only reads, writes and deletes; recalling needs one.
        days: How long a fact is kept after it was said last; None is for ever.

    Raises:
        ConfigError: there is no such kind, or the variable is not set.
        MissingExtra: PostgreSQL without the extra `postgres`.
        StateError: the database cannot be opened.
    """
    address = _address(kind, "fact store", "memory.facts")
    if address == "none":
        return None
    if address == "sqlite":
        return Facts(FactStore(SqliteFacts(folder / "facts.sqlite"), embedder, days=days))
    try:
        from .postgres import PostgresFacts
    except ImportError:
        raise MissingExtra("langgraph-checkpoint-postgres", "postgres") from None
    return Facts(FactStore(PostgresFacts(address), embedder, days=days))


def open_records(kind: str, folder: Path) -> Records:
    """What was asked of a team from outside; kept where its threads are, and lost with the process where nothing is.

    Args:
        kind: As for `open_checkpoints`; `sqlite` keeps `folder/requests.sqlite`.
        folder: Where the team keeps its state.

    Raises as `open_checkpoints` does.
    """
    if _address(kind, "checkpoint store", "memory.checkpoints") == "none":
        return Records(None)
    return Records(open_tables(kind, folder / RECORDS_FILE, RECORDS_SCHEMA, ("records", "holders")))


def open_tables(kind: str, file: Path, schema: Sequence[str], tables: Sequence[str]) -> StateDatabase | Path:
    """Tables beside a team's threads, where several processes may share them.

    What the file of a team holds that used SQLite before is carried over to PostgreSQL, and the file removed.

    Args:
        kind: As for `open_checkpoints`.
        file: Where they are with `sqlite`, or where nothing else is kept.
        schema: Statements that make them if need be, for SQLite and PostgreSQL.
        tables: Their names.

    Returns:
        The database, or the file.

    Raises as `open_checkpoints` does.
    """
    address = _address(kind, "checkpoint store", "memory.checkpoints")
    if address in ("sqlite", "none"):
        return file
    try:
        from .postgres import PostgresState
    except ImportError:
        raise MissingExtra("langgraph-checkpoint-postgres", "postgres") from None
    database = PostgresState(address, schema, tables, patience=_PATIENCE)
    if file.is_file():
        _carry_over(file, database, schema, tables)
    return database


def _carry_over(file: Path, to: StateDatabase, schema: Sequence[str], tables: Sequence[str]) -> None:
    with closing(SqliteState(file, ";".join(schema))) as before, to.transaction() as execute:
        for table in tables:
            for row in before.run(f"SELECT * FROM {table}"):
                marks = ", ".join("?" * len(row))
                execute(f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT DO NOTHING", row)
    for name in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
        name.unlink(missing_ok=True)


def _address(kind: str, what: str, field: str) -> str:
    """`none`, `sqlite`, or the address of a PostgreSQL database."""
    address = secret_value(kind, field)
    if address not in ("sqlite", "none") and not address.startswith(("postgresql://", "postgres://")):
        kinds = ["sqlite", "postgresql://…", "env:NAME", "none"]
        raise ConfigError(unknown(what, address, kinds), field=field)
    return address
