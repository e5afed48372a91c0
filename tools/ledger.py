"""Which effects have happened: the memory that keeps a payment from being made twice after a crash or a retry."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Literal

from ..core.types import Value


class Entry(Value):
    """An effect. `begun` without `done`: the process ended in between, and nobody knows whether it happened."""

    state: Literal["begun", "done"]
    result: str = ""


class Ledger:
    """Effects by key, in a SQLite file (or in memory). Several processes may share the file."""

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(
            path or ":memory:", check_same_thread=False, isolation_level=None, timeout=10
        )
        self._lock = threading.Lock()
        with self._lock:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS effects (key TEXT PRIMARY KEY, state TEXT, result TEXT)"
            )

    def begin(self, key: str) -> Entry | None:
        """Claim a key. None: it is yours, go on; otherwise what is known of the earlier attempt."""
        earlier = None
        while earlier is None:  # a key that is released by another process between the two statements is free again
            with self._lock:
                claimed = self._connection.execute(
                    "INSERT INTO effects VALUES (?, 'begun', '') ON CONFLICT (key) DO NOTHING", (key,)
                ).rowcount
            if claimed:
                return None
            earlier = self.find(key)
        return earlier

    def find(self, key: str) -> Entry | None:
        """What is known of an effect; None when it was never begun."""
        with self._lock:
            row = self._connection.execute("SELECT state, result FROM effects WHERE key = ?", (key,)).fetchone()
        return Entry(state=row[0], result=row[1]) if row else None

    def finish(self, key: str, result: str) -> None:
        """The effect happened."""
        with self._lock:
            self._connection.execute("UPDATE effects SET state = 'done', result = ? WHERE key = ?", (result, key))

    def release(self, key: str) -> None:
        """The effect surely did not happen; the key may be claimed again."""
        with self._lock:
            self._connection.execute("DELETE FROM effects WHERE key = ? AND state = 'begun'", (key,))

    def erase(self, prefix: str = "") -> int:
        """Forget all effects whose key begins with `prefix` (a thread's, say); how many there were."""
        with self._lock:
            gone = self._connection.execute(
                "DELETE FROM effects WHERE substr(key, 1, ?) = ?", (len(prefix), prefix)
            ).rowcount
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nothing stays in the write-ahead file either
        return gone

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
