"""What was asked of a team from outside, as long as somebody may want to know of it: JSON objects in a table.

Runs, the threads' titles, files and batches are such records; what is in them is the business of `serving`. A record
belongs to an owner, so that it can be erased with everything else of a person. One about which something is still to be
done may be held by whoever does it, for a while at a time: when the holder dies, somebody else takes it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..core.database import Execute, StateDatabase, open_state
from .store import Owner

RECORDS_FILE = "requests.sqlite"
LOGS = "log"
"""The kinds of what teams note for their own use begin so: `log/TEAM/answer`."""

RECORDS_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, id TEXT NOT NULL, tenant TEXT, "user" TEXT, thread TEXT NOT NULL, open INTEGER NOT NULL,
    at DOUBLE PRECISION NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
)""",
    'CREATE INDEX IF NOT EXISTS records_by_owner ON records (kind, "user", tenant, at)',
    "CREATE INDEX IF NOT EXISTS records_by_open ON records (kind, open)",
    # A table of its own: files of earlier versions get it, too.
    """
CREATE TABLE IF NOT EXISTS holders (
    kind TEXT NOT NULL, id TEXT NOT NULL, holder TEXT NOT NULL, until DOUBLE PRECISION NOT NULL, PRIMARY KEY (kind, id)
)""",
)
"""For SQLite and PostgreSQL."""
_COLUMNS = 'id, tenant, "user", thread, open, at, body'


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


class Hold(NamedTuple):
    """Who works on a record, and for how many seconds from now on nobody else may."""

    holder: str
    """`TEAM/NAME`: only holders of the same team take from each other."""
    seconds: float


class Records:
    """All records of a team. Safe to use from several threads and processes.

    Args:
        place: A SQLite file, or a database with the tables of `RECORDS_SCHEMA`; None keeps them in memory.

    Raises:
        StateError: the file is not a database.
    """

    def __init__(self, place: Path | StateDatabase | None) -> None:
        self.database = open_state(place, ";".join(RECORDS_SCHEMA))

    def put(
        self,
        kind: str,
        id: str,
        owner: Owner,
        body: dict[str, Any],
        *,
        thread_id: str = "",
        open: bool = False,
        hold: Hold | None = None,
    ) -> bool:
        """Keep a record, in place of an older one of that name; when it was made stays as it was.

        Args:
            hold: Who works on it while it is open. One that somebody else holds is left as it is.

        Returns:
            Whether it was kept.
        """
        if hold is None:
            _put(self.database.run, kind, id, owner, body, thread_id, open=open)
            return True
        with self.database.transaction() as execute:
            if not self._hold(execute, kind, id, hold):
                return False
            if not open:
                execute("DELETE FROM holders WHERE kind = ? AND id = ?", (kind, id))
            _put(execute, kind, id, owner, body, thread_id, open=open)
        return True

    def put_once(self, kind: str, id: str, owner: Owner, body: dict[str, Any], also: Sequence[tuple[Any, ...]]) -> bool:
        """Keep a record and those in `also` (kind, id, owner, body, thread, hold), all open; or none if it is there.

        Returns:
            Whether it is new.
        """
        with self.database.transaction() as execute:
            values = _values(kind, id, owner, body, "", open=False)
            if not execute(f"{_INSERT} ON CONFLICT (kind, id) DO NOTHING RETURNING 1", values):
                return False
            for other, name, whose, what, thread, hold in also:
                self._hold(execute, other, name, hold)
                _put(execute, other, name, whose, what, thread, open=True)
        return True

    def take(self, kind: str, hold: Hold, most: int, gone: Collection[str] = ()) -> list[Record]:
        """The oldest open records that nobody holds any more; from now on `hold` says who does.

        Args:
            most: How many at most.
            gone: Holders who are known to have ended, however long they wanted to hold.
        """
        team = hold.holder.partition("/")[0]
        free = ["h.holder IS NULL", f"(h.until < {self.database.clock} AND h.holder LIKE ?)"]
        values: list[Any] = [kind, f"{team}/%"]
        if gone:
            free, values = [*free, f"h.holder IN ({', '.join('?' * len(gone))})"], [*values, *gone]
        with self.database.transaction() as execute:
            found = execute(
                "SELECT r.id FROM records r LEFT JOIN holders h ON h.kind = r.kind AND h.id = r.id"
                f" WHERE r.kind = ? AND r.open = 1 AND ({' OR '.join(free)}) ORDER BY r.at, r.id LIMIT {int(most)}",
                values,
            )
            mine = [name for (name,) in found if self._hold(execute, kind, name, hold, gone)]
            # Read once it is held: whoever held it may have closed it between the two.
            rows = [execute(f"SELECT {_COLUMNS} FROM records WHERE kind = ? AND id = ?", (kind, name)) for name in mine]
        return [record for row in rows if row and (record := _record(row[0])).open]

    def renew(self, hold: Hold) -> None:
        """Hold what this holder holds for longer."""
        until = f"{self.database.clock} + ?"
        self.database.run(f"UPDATE holders SET until = {until} WHERE holder = ?", (hold.seconds, hold.holder))

    def held(self, kind: str, holder: str) -> set[str]:
        """The names of the records of a kind that this holder holds."""
        rows = self.database.run("SELECT id FROM holders WHERE kind = ? AND holder = ?", (kind, holder))
        return {name for (name,) in rows}

    def leave(self, holder: str) -> None:
        """Hold nothing any more: what is still open is for others."""
        self.database.run("UPDATE holders SET until = 0 WHERE holder = ?", (holder,))

    def get(self, kind: str, id: str) -> Record | None:
        """A record by its name."""
        rows = self.database.run(f"SELECT {_COLUMNS} FROM records WHERE kind = ? AND id = ?", (kind, id))
        return _record(rows[0]) if rows else None

    def list(
        self,
        kind: str,
        owner: Owner | None = None,
        *,
        open: bool | None = None,
        thread_id: str | None = None,
        most: int | None = None,
    ) -> list[Record]:
        """The records of a kind, the latest first.

        Args:
            owner: Only this one's; None gives everybody's.
            open: Only those about which something, or nothing, is to be done.
            thread_id: Only those of a conversation.
            most: So many at most; left out: all.
        """
        where, values = _whose(owner, thread_id)
        if open is not None:
            where += f" AND open = {int(open)}"
        limit = "" if most is None else f" LIMIT {int(most)}"
        rows = self.database.run(
            f"SELECT {_COLUMNS} FROM records WHERE kind = ? AND {where} ORDER BY at DESC, id{limit}", (kind, *values)
        )
        return [_record(row) for row in rows]

    def delete(self, kind: str, id: str) -> None:
        """Forget a record."""
        self.database.run("DELETE FROM records WHERE kind = ? AND id = ?", (kind, id))

    def forget_before(self, at: float, kind: str | None = None, *, dry: bool = False) -> int:
        """Forget what was made before that moment and about which nothing is to be done. Returns how much it was.

        Args:
            at: Seconds since 1970.
            kind: Those whose kind begins with it and a slash; left out: all but titles and logs.
            dry: Only count.
        """
        which = "kind <> 'thread' AND kind NOT LIKE ?" if kind is None else "kind LIKE ?"
        where, values = f"FROM records WHERE at < ? AND open = 0 AND {which}", (at, f"{kind or LOGS}/%")
        with self.database.transaction() as execute:
            gone = execute(f"SELECT 1 {where}" if dry else f"DELETE {where} RETURNING 1", values)
            if not dry:
                execute("DELETE FROM holders WHERE until < ?", (at,))
        return len(gone)

    def of(self, owner: Owner | None, thread: str | None = None) -> list[Record]:
        """All records of an owner, of a thread, of both together; everybody's where neither is given."""
        where, values = _whose(owner, thread)
        rows = self.database.run(f"SELECT {_COLUMNS} FROM records WHERE {where} ORDER BY at", values)
        return [_record(row) for row in rows]

    def erase(self, owner: Owner | None, thread: str | None = None) -> int:
        """Forget what `of` gives. Returns how much it was."""
        where, values = _whose(owner, thread)
        with self.database.transaction() as execute:
            return len(execute(f"DELETE FROM records WHERE {where} RETURNING 1", values))

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def _hold(self, execute: Execute, kind: str, id: str, hold: Hold, gone: Collection[str] = ()) -> bool:
        """Hold a record; False where somebody else does."""
        until, others = f"{self.database.clock} + ?", ""
        if gone:
            others = f" OR holders.holder IN ({', '.join('?' * len(gone))})"
        return bool(
            execute(
                f"INSERT INTO holders (kind, id, holder, until) VALUES (?, ?, ?, {until})"
                " ON CONFLICT (kind, id) DO UPDATE SET holder = excluded.holder, until = excluded.until"
                f" WHERE holders.holder = excluded.holder OR holders.until < {self.database.clock}{others} RETURNING 1",
                (kind, id, hold.holder, hold.seconds, *gone),
            )
        )


_INSERT = f"INSERT INTO records (kind, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def _values(kind: str, id: str, owner: Owner, body: dict[str, Any], thread: str, *, open: bool) -> tuple[Any, ...]:
    text = json.dumps(body, ensure_ascii=False)
    return (kind, id, owner.tenant, owner.user, thread, int(open), time.time(), text)


def _put(execute: Execute, kind: str, id: str, owner: Owner, body: dict[str, Any], thread: str, *, open: bool) -> None:
    again = "ON CONFLICT (kind, id) DO UPDATE SET open = excluded.open, body = excluded.body"
    execute(f"{_INSERT} {again}", _values(kind, id, owner, body, thread, open=open))


def _record(row: tuple[Any, ...]) -> Record:
    id, tenant, user, thread, open, at, body = row
    return Record(id, Owner(user, tenant), thread, bool(open), at, json.loads(body))


def _whose(owner: Owner | None, thread: str | None) -> tuple[str, list[Any]]:
    where, values = ["1 = 1"], list[Any]()
    for column, value in zip(('"user"', "tenant"), owner or (), strict=False):
        # One operator for both databases that takes NULL for a value like others does not exist.
        where, values = [*where, f"{column} {'IS NULL' if value is None else '= ?'}"], [*values, value]
    values = [value for value in values if value is not None]
    if thread is not None:
        where, values = [*where, "thread = ?"], [*values, thread]
    return " AND ".join(where), values
