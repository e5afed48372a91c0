"""Which version is in use: two aliases, and the way back. Pure values; each step gives the next state.

add → challenger ──promote──→ champion ──rollback──→ the champion before
"""

from __future__ import annotations

from itertools import groupby

from pydantic import ConfigDict, Field

from ...core.errors import StateError
from ...core.types import Value


class Event(Value):
    """Something that happened to a specialist's versions."""

    at: str
    """UTC, ISO 8601."""
    did: str
    """`added`, `promoted`, `kept back`, `rolled back`, `removed`."""
    version: str | None
    why: str = ""


class State(Value):
    """The aliases of one specialist. Versions are named by their id."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    champion: str | None = None
    """In use; None means what the card says: its adapter, or the skill of its style."""
    challenger: str | None = None
    """Newest, and not yet better."""
    former: tuple[str | None, ...] = ()
    """Champions before this one, the last of them last."""
    events: tuple[Event, ...] = Field(default=())

    def added(self, version: str) -> State:
        """The version becomes the challenger, unless it is the champion."""
        return self if version == self.champion else self._with(challenger=version)

    def promoted(self, version: str) -> State:
        """The version becomes the champion.

        Raises:
            StateError: it is the champion already.
        """
        if version == self.champion:
            raise StateError(f"{version} is the champion already")
        return self._with(champion=version, former=(*self.former, self.champion))

    def rolled_back(self) -> State:
        """The champion before comes back; None is the card's own adapter.

        Raises:
            StateError: nothing was ever promoted, or all of it was rolled back.
        """
        if not self.former:
            raise StateError("there was no other champion before", hint="metier registry promote SPECIALIST VERSION")
        return self._with(champion=self.former[-1], former=self.former[:-1])

    def removed(self, version: str) -> State:
        """Nothing leads back to the version.

        Raises:
            StateError: it is in use.
        """
        if version == self.champion:
            raise StateError(
                f"{version} is in use: it is the champion", hint="promote another one, or roll back, first"
            )
        line = [v for v, _ in groupby(v for v in (*self.former, self.champion) if v != version)]
        challenger = None if version == self.challenger else self.challenger
        return self._with(former=tuple(line[:-1]), challenger=challenger)

    def _with(self, **changes: object) -> State:
        after = self.model_copy(update=changes)
        return after if after.challenger != after.champion else after.model_copy(update={"challenger": None})
