"""Facts in one SQLite file, on every Python's sqlite3: no extension is loaded."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import StateError
from .scrub import scrub
from .store import Execute

_TABLE = """
CREATE TABLE IF NOT EXISTS facts (
    namespace TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL,
    minutes REAL, expires REAL, fields TEXT NOT NULL, embedder TEXT, vectors BLOB, terms TEXT,
    PRIMARY KEY (namespace, key)
)
"""


class SqliteFacts:
    """One connection in WAL mode; other processes may use the file at the same time.

    Raises:
        StateError: the file is not a database.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._lock = path, threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise StateError(f"{path}: {error}", hint="move that file away; a new one is made") from error

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """See `Database`. Raises StateError when the file cannot be read or written."""

        def execute(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            return self._connection.execute(sql, values).fetchall()

        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield execute
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                raise StateError(f"{self._path}: {error}") from error

    def scrub(self) -> None:
        """See `Database`. Raises StateError when another process holds the file."""
        with self._lock:
            scrub(self._connection, self._path)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
