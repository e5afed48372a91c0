"""The team's own databases: SQLite files that several processes may use, and that may lie on a read-only disk."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from .errors import StateError
from .files import writable

_log = logging.getLogger(__name__)

_PATIENCE = 3000
"""Milliseconds to wait for others to finish."""


def open_sqlite(path: Path, *, synchronous: str = "NORMAL", **options: Any) -> sqlite3.Connection:
    """A database of the team's state, which is made if need be.

    On a read-only disk, what the file holds is read into memory: what is added is lost with the process, and that is
    said once.

    Args:
        path: Its file.
        synchronous: In WAL mode NORMAL survives a killed process, and FULL a power cut as well.
        options: Of `sqlite3.connect`.

    Raises:
        sqlite3.DatabaseError: it is no database, or the disk is full.
    """
    options = {"check_same_thread": False, "timeout": 30, **options}
    if not writable(path.parent):
        _log.warning("%s cannot be written: what is kept there lasts only as long as this process", path)
        return _copy(path, options)
    connection = sqlite3.connect(path, **options)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA secure_delete = ON")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _copy(path: Path, options: dict[str, Any]) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", **options)
    if path.is_file():
        # Without `immutable` SQLite wants to make a file beside it, to share with others.
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as before:
            before.backup(memory)
    return memory


def scrub(connection: sqlite3.Connection, path: Path) -> None:
    """Write the file anew without its free pages, and empty the write-ahead log.

    Args:
        connection: Open on that file, in no transaction.

    Raises:
        StateError: somebody else reads or writes the file.
    """
    (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
    try:
        connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
        connection.execute("PRAGMA temp_store = MEMORY")  # the copy that VACUUM makes must not lie in a temporary file
        connection.execute("VACUUM")
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError as error:
        raise StateError(f"{path}: {error}", hint="end what uses the team, then erase again") from error
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")
    if busy:
        raise StateError(f"{path} is in use by another process", hint="end it, then erase again")
