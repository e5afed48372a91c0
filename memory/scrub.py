"""Deleted rows of a SQLite file, gone from its bytes too."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..core.errors import StateError

_PATIENCE = 3000
"""Milliseconds to wait for others to finish."""


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
