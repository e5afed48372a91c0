"""The versions of a team's adapters on disk, and their aliases. Every change is one file replaced under a lock.

registry/
  maintenance/
    registry.json     champion, challenger, former champions, and what happened
    3f2a90c4d1be/     a version: a PEFT repository that nobody changes any more
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from ...core.errors import InputError, StateError, unknown
from ...core.files import write_atomic
from ..training.repository import RECORD
from .state import Event, State
from .version import Version, read_version, write_version

FILE = "registry.json"
ALIASES = ("champion", "challenger")
PATIENCE = 10.0
"""Seconds to wait for another process that changes the same specialist."""


class Registry:
    """The registry in a folder; the folder need not exist before the first version.

    Safe for several processes. A process that is killed leaves either the old aliases or the new ones.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def state(self, name: str) -> State:
        """Aliases and events of a specialist; empty for one without versions.

        Raises:
            StateError: the file is damaged.
        """
        path = self.folder / name / FILE
        if not path.is_file():
            return State()
        try:
            return State.model_validate_json(path.read_bytes())
        except ValidationError as error:
            found = error.errors()[0]["msg"]
            raise StateError(f"{path} is damaged: {found}", hint="put back the file of your last commit") from error

    def versions(self, name: str) -> list[str]:
        """Ids of all versions of a specialist, newest first."""
        order = {e.version: n for n, e in enumerate(self.state(name).events) if e.did == "added"}
        found = [p.parent.name for p in (self.folder / name).glob(f"[!.]*/{RECORD}")]
        return sorted(found, key=lambda v: (-order.get(v, -1), v))

    def find(self, name: str, ref: str) -> Version:
        """The version that an alias, an id or the beginning of one means; its hashes are checked.

        Raises:
            InputError: no such version, or more than one.
            IntegrityError: it was changed after it was made.
        """
        held = self.versions(name)
        wanted = getattr(self.state(name), ref) if ref in ALIASES else ref
        if wanted is None:
            raise InputError(f"'{name}' has no {ref}", hint=f"versions: {', '.join(held) or 'none'}")
        matching = [v for v in held if v.startswith(wanted)]
        if len(matching) != 1 or not wanted:
            raise InputError(unknown(f"version of '{name}'", ref, [*held, *ALIASES]))
        return read_version(self.folder / name / matching[0])

    def champion(self, name: str) -> Path | None:
        """The folder of the version in use, checked; None where the card's own adapter is. Raises as `find` does."""
        return self.find(name, "champion").path if self.state(name).champion else None

    def add(self, name: str, source: Path, record: Mapping[str, Any], why: str) -> Version:
        """Take the adapter in a PEFT folder as a new version, and as the challenger.

        Raises:
            ConfigError, IntegrityError: not an adapter that may be trusted.
        """
        with self._changing(name) as change:
            version = write_version(source, record, self.folder / name)
            change(State.added, version.id, "added", why)
        return version

    def promote(self, name: str, ref: str = "challenger", why: str = "asked for") -> Version:
        """Make a version the champion. Raises as `find` does, and `StateError` when it is the champion already."""
        with self._changing(name) as change:
            version = self.find(name, ref)
            change(State.promoted, version.id, "promoted", why)
        return version

    def rollback(self, name: str, why: str = "asked for") -> str | None:
        """Bring the champion before back; its id, or None for the card's own adapter.

        Raises:
            StateError: there was none before.
            IntegrityError: the one before was changed after it was made.
        """
        with self._changing(name) as change:
            back = self.state(name).rolled_back().champion
            if back:
                self.find(name, back)
            change(lambda state, _: state.rolled_back(), back, "rolled back", why)
        return back

    def keep_back(self, name: str, why: str) -> None:
        """Note why the challenger was not promoted; the same note is not repeated."""
        with self._changing(name) as change:
            state = self.state(name)
            last = next((e for e in reversed(state.events) if e.version == state.challenger), None)
            if last is None or (last.did, last.why) != ("kept back", why):
                change(lambda state, _: state, state.challenger, "kept back", why)

    def remove(self, name: str, ref: str) -> str:
        """Delete a version; its id.

        Raises:
            InputError: no such version, or more than one.
            StateError: it is in use.
        """
        with self._changing(name) as change:
            matching = [v for v in self.versions(name) if ref and v.startswith(ref)]
            id = matching[0] if len(matching) == 1 else self.find(name, ref).id
            change(State.removed, id, "removed", "asked for")
            # Out of sight first: a half-deleted folder would look like a damaged version.
            gone = self.folder / name / f".{id}.removed"
            (self.folder / name / id).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        return id

    @contextmanager
    def _changing(self, name: str) -> Iterator[Callable[..., None]]:
        """Hold the lock; what is given takes a step of `State`, its version, and a word and a reason for the log."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)

        def change(step: Callable[[State, Any], State], version: str | None, did: str, why: str) -> None:
            before = self.state(name)
            event = Event(at=datetime.now(UTC).isoformat(timespec="seconds"), did=did, version=version, why=why)
            after = step(before, version).model_copy(update={"events": (*before.events, event)})
            write_atomic(folder / FILE, after.model_dump_json(indent=2) + "\n")

        try:
            with FileLock(folder / ".lock", timeout=PATIENCE):
                yield change
        except Timeout as error:
            raise StateError(f"another process is changing the versions of '{name}'", hint="try again") from error
