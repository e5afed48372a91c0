"""The team follows its document folders: what changes there is built beside the work and taken over when it is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from watchfiles import Change, DefaultFilter, awatch

from ...agents.build import build, changed_since_build
from ...agents.cards import STATE
from ...agents.team import Team
from ...core.errors import MetierError, StateError
from ...core.run import Cancelled

_log = logging.getLogger("metier.http")

_AGAIN = 5.0
"""Seconds after which a build is tried again that could not be made: another one was at work, the disk was full."""


class Follower:
    """Builds a team anew whenever its documents have changed.

    Args:
        team: Who works with them.
        say: Told in words what happens.
    """

    def __init__(self, team: Team, say: Callable[[str], None]) -> None:
        self._team, self._say = team, say
        self._ending = asyncio.Event()
        self.progress: tuple[str, int, int] | None = None
        """Of the build that is going on, as `core.run.Progress` tells it; None while there is none."""

    @property
    def folders(self) -> list[Path]:
        """The folders that are watched: of a single document, the one in which it lies."""
        plan = self._team.blueprint
        sources = [
            plan.folders[name] / source
            for name, card in plan.specialists.items()
            if card.knowledge
            for source in card.knowledge.sources
        ]
        return sorted({source if source.is_dir() else source.parent for source in sources})

    async def run(self) -> None:
        """Follow until `end`."""
        await self._look()  # what changed while nobody looked
        while not self._ending.is_set():
            folders = self.folders
            self._say(f"following {', '.join(map(str, folders))}")
            async for _ in awatch(*folders, watch_filter=_Documents(), stop_event=self._ending):
                await self._look()
                if self.folders != folders:
                    break  # a card says other sources now

    def end(self) -> None:
        """Stop; a build that is going on is given up, and the last one stays."""
        self._ending.set()

    async def _look(self) -> None:
        """Build until nothing is left that has changed."""
        while not self._ending.is_set():
            try:
                if not await asyncio.to_thread(self._built):
                    return
            except Cancelled:
                return
            except StateError as error:
                self._say(f"not built yet: {error.message}")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), _AGAIN)
            except MetierError as error:
                self._say(f"not built: {error}")
                return
            except Exception as error:
                _log.error("following the documents failed", exc_info=error)
                return

    def _built(self) -> bool:
        """Build and take over what has changed; False where nothing has."""
        changed = changed_since_build(self._team.blueprint)
        if not changed:
            return False
        self._say(f"building, for these have changed: {', '.join(changed[:5])}{' …' if changed[5:] else ''}")
        try:
            report = build(self._team.blueprint, progress=self._tell)
        finally:
            self.progress = None
        names = self._team.refresh()
        self._say(f"built in {report.seconds:.1f} s: {', '.join(names) or 'nobody'} works with what is new")
        return changed != changed_since_build(self._team.blueprint)

    def _tell(self, what: str, done: int, total: int) -> None:
        if self._ending.is_set():
            raise Cancelled("the server ends")
        self.progress = (what, done, total)


class _Documents(DefaultFilter):
    """Leaves out what we build ourselves, and files that editors make beside those that are edited."""

    def __call__(self, change: Change, path: str) -> bool:
        place = Path(path)
        return super().__call__(change, path) and STATE not in place.parts and not place.name.startswith(".")
