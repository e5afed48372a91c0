"""What was asked of a team from outside, as long as somebody may want to know of it: JSON objects on a SQLite file.

Runs, the threads' titles, files and batches are such records; what is in them is the business of `serving`. A record
belongs to an owner, so that it can be erased with everything else of a person.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import StateError
from ..core.sqlite import open_sqlite
from .store import Owner

RECORDS_FILE = "requests.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, id TEXT NOT NULL, tenant TEXT, user TEXT, thread TEXT NOT NULL, open INTEGER NOT NULL,
    at REAL NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_by_owner ON records (kind, user, tenant, at);
CREATE INDEX IF NOT EXISTS records_open ON records (kind, open) WHERE open;
"""
_COLUMNS = "id, tenant, user, thread, open, at, body"


class Record(NamedTuple):
    """One of them."""

    id: str
    owner: Owner
    thread_id: str
    open: bool
    """Something is still to be done about it."""
    at: float
    """When it was made, seconds since 1970."""
    body: dict[str, Any]


class Records:
    """All records of a team. Safe to use from several threads and processes.

    Args:
        path: The file; None keeps them in memory.

    Raises:
        StateError: the file is not a database.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock, database = threading.Lock(), None
        try:
            plain: dict[str, Any] = {"check_same_thread": False, "isolation_level": None}
            database = open_sqlite(path, **plain) if path else sqlite3.connect(":memory:", **plain)
            database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            if database:
                database.close()
            raise StateError(f"{path}: {error}", hint="move that file away; a new one is made") from error
        self._database = database

    def put(
        self, kind: str, id: str, owner: Owner, body: dict[str, Any], *, thread_id: str = "", open: bool = False
    ) -> None:
        """Keep a record, in place of an older one of that name; when it was made stays as it was."""
        self._run(
            "INSERT INTO records (kind, id, tenant, user, thread, open, at, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET open = excluded.open, body = excluded.body",
            (kind, id, owner.tenant, owner.user, thread_id, open, time.time(), json.dumps(body, ensure_ascii=False)),
        )

    def get(self, kind: str, id: str) -> Record | None:
        """A record by its name."""
        rows = self._run(f"SELECT {_COLUMNS} FROM records WHERE kind = ? AND id = ?", (kind, id))
        return _record(rows[0]) if rows else None

    def list(self, kind: str, owner: Owner | None = None, *, open: bool | None = None) -> list[Record]:
        """The records of a kind, the latest first.

        Args:
            owner: Only this one's; None gives everybody's.
            open: Only those about which something, or nothing, is to be done.
        """
        where, values = ["kind = ?"], [kind]
        if owner is not None:
            where, values = [*where, "user IS ?", "tenant IS ?"], [*values, owner.user, owner.tenant]
        if open is not None:
            where.append("open" if open else "NOT open")
        rows = self._run(f"SELECT {_COLUMNS} FROM records WHERE {' AND '.join(where)} ORDER BY at DESC, id", values)
        return [_record(row) for row in rows]

    def delete(self, kind: str, id: str) -> None:
        """Forget a record."""
        self._run("DELETE FROM records WHERE kind = ? AND id = ?", (kind, id))

    def forget_before(self, at: float) -> None:
        """Forget what was made before that moment and about which nothing is to be done; titles of threads stay."""
        self._run("DELETE FROM records WHERE at < ? AND NOT open AND kind <> 'thread'", (at,))

    def of(self, owner: Owner | None, thread: str | None = None) -> list[Record]:
        """All records of an owner, of a thread, of both together; everybody's where neither is given."""
        where, values = _whose(owner, thread)
        return [_record(row) for row in self._run(f"SELECT {_COLUMNS} FROM records WHERE {where} ORDER BY at", values)]

    def erase(self, owner: Owner | None, thread: str | None = None) -> int:
        """Forget what `of` gives. Returns how much it was."""
        where, values = _whose(owner, thread)
        return len(self._run(f"DELETE FROM records WHERE {where} RETURNING 1", values))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _run(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        with self._lock, closing(self._database.execute(sql, values)) as cursor:
            return cursor.fetchall()


def _record(row: tuple[Any, ...]) -> Record:
    id, tenant, user, thread, open, at, body = row
    return Record(id, Owner(user, tenant), thread, bool(open), at, json.loads(body))


def _whose(owner: Owner | None, thread: str | None) -> tuple[str, list[Any]]:
    where, values = ["1"], list[Any]()
    if owner is not None:
        where, values = [*where, "user IS ?", "tenant IS ?"], [owner.user, owner.tenant]
    if thread is not None:
        where, values = [*where, "thread = ?"], [*values, thread]
    return " AND ".join(where), values
