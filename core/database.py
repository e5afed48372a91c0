"""The seam between what a team keeps and the database that keeps it: a SQLite file here, PostgreSQL in `memory/`."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from .errors import StateError
from .sqlite import open_sqlite, scrub

Execute = Callable[..., list[tuple[Any, ...]]]
"""`execute(sql, parameters=())` gives the rows; parameters stand as `?` in the statement."""


class StateDatabase(Protocol):
    """A database of the team's state. Safe to use from several threads; other processes may use it, too."""

    clock: str
    """SQL for the seconds since 1970 by the database's clock, which all its users share."""

    def transaction(self) -> AbstractContextManager[Execute]:
        """Everything inside happens or nothing does. Raises StateError when the database cannot be used."""
        ...

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """One statement, which must do no harm when it is done twice: it is tried again while the server is away."""
        ...

    def empty_log(self) -> None:
        """Take what was deleted out of the write-ahead file, where that is the team's own."""
        ...

    def scrub(self) -> None:
        """Take what was deleted out of the files as well. Raises StateError when somebody else uses them."""
        ...

    def close(self) -> None: ...


def open_state(place: Path | StateDatabase | None, schema: str, *, synchronous: str = "NORMAL") -> StateDatabase:
    """A SQLite file (None: in memory) with these tables; a database that is open already, as it is.

    Raises:
        StateError: the file is not a database.
    """
    if place is None or isinstance(place, Path):
        return SqliteState(place, schema, synchronous=synchronous)
    return place


class SqliteState:
    """A SQLite file (None: in memory), one connection in WAL mode.

    Args:
        path: The file.
        schema: Makes the tables if need be.
        synchronous: As `open_sqlite` takes it.

    Raises:
        StateError: the file is not a database.
    """

    clock = "((julianday('now') - 2440587.5) * 86400.0)"

    def __init__(self, path: Path | None, schema: str, *, synchronous: str = "NORMAL") -> None:
        self._path, self._lock, connection = path, threading.RLock(), None
        plain: dict[str, Any] = {"check_same_thread": False, "isolation_level": None}
        try:
            connection = (
                open_sqlite(path, synchronous=synchronous, **plain) if path else sqlite3.connect(":memory:", **plain)
            )
            connection.executescript(schema)
        except sqlite3.DatabaseError as error:
            if connection:
                connection.close()
            raise StateError(f"{path}: {error}", hint="move that file away; a new one is made") from error
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """See `StateDatabase`."""

        def execute(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            return self._connection.execute(sql, values).fetchall()

        with self._lock, self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield execute
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `StateDatabase`."""
        with self._lock, self._told():
            return self._connection.execute(sql, values).fetchall()

    def empty_log(self) -> None:
        """See `StateDatabase`."""
        self.run("PRAGMA wal_checkpoint(TRUNCATE)")

    def scrub(self) -> None:
        """See `StateDatabase`."""
        with self._lock:
            if self._path:
                scrub(self._connection, self._path)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StateError(f"{self._path or 'memory'}: {error}") from error
