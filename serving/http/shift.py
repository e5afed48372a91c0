"""What this server does of all that was accepted, where several servers of a team share its records.

Each record that is open is held by the server that works on it, for some seconds at a time. A server that dies holds
nothing soon after: another one takes what it left. On one machine the dead are known at once, by their file's lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from ...core.errors import StateError
from ...core.files import writable
from ...memory.records import Hold, Record, Records

_log = logging.getLogger("metier.http")

_HELD = 10.0
"""Seconds for which a server that says nothing is believed to live."""
_EVERY = 2.0
"""Seconds after which it says so again, and looks around."""


class Shift:
    """One server's part of the work.

    Args:
        records: What all servers of the team share.
        team: Its name.
        state: The folder of the team's state on this machine.
    """

    def __init__(self, records: Records, team: str, state: Path) -> None:
        self.records, self._name, self._folder = records, uuid4().hex, state / "servers"
        self.hold = Hold(f"{team}/{self._name}", _HELD)
        self._lock = FileLock(self._folder / f"{self._name}.lock", timeout=0, thread_local=False)

    def begin(self) -> None:
        """Say that this server lives."""
        if writable(self._folder.parent):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=_HELD)  # another server may just be looking whether it is held

    def end(self) -> None:
        """What is still open is for others."""
        self.records.leave(self.hold.holder)
        if self._lock.is_locked:
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)

    async def keep(self, *look: Callable[[], Awaitable[None]]) -> None:
        """Look around again and again, until this is cancelled. A database that is away for a while is waited for."""
        while True:
            await asyncio.sleep(_EVERY)
            for around in look:
                try:
                    await around()
                except StateError as error:
                    _log.warning("what other servers do cannot be seen: %s", error)
            for path in self._dead():  # what is left of theirs, when this server had no room, is free in some seconds
                path.unlink(missing_ok=True)

    def renew(self) -> None:
        """This server lives still."""
        self.records.renew(self.hold)

    def take(self, kind: str, most: int) -> list[Record]:
        """What nobody works on, the oldest first; from now on this server does."""
        if most <= 0:
            return []
        dead = self._dead()
        team = self.hold.holder.partition("/")[0]
        taken = self.records.take(kind, self.hold, most, [f"{team}/{path.stem}" for path in dead])
        for record in taken:
            _log.info("going on with %s %s", kind, record.id)
        return taken

    def put(self, kind: str, record: Record) -> bool:
        """Keep a record that this server works on; False where another one has taken it meanwhile."""
        return self.records.put(
            kind, record.id, record.owner, record.body, thread_id=record.thread_id, open=record.open, hold=self.hold
        )

    def held(self, kind: str) -> set[str]:
        """The names of what this server works on. It loses what it could not renew in time: asleep, or cut off."""
        return self.records.held(kind, self.hold.holder)

    def _dead(self) -> list[Path]:
        """The files of servers of this machine that have ended."""
        return [path for path in self._folder.glob("*.lock") if path.stem != self._name and _free(path)]


def _free(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return True
    except (Timeout, OSError):
        return False
