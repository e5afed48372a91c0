"""How a run survives an interruption: a step that was done is not done again when the run goes on.

Specialists and tools take their steps through a `Journal`; whoever runs the graph gives one that lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import uuid4

Plain = dict[str, Any]
"""What JSON can say."""


class Journal(Protocol):
    """The steps of the run that this thread is working on. They must come in the same order whenever it goes on."""

    def once(self, step: Callable[[], Plain]) -> Plain:
        """What the step gives: done now, or noted earlier."""
        ...

    def key(self) -> str:
        """Identifies the work on one brief: the same before and after an interruption, and never used for another."""
        ...


class Unkept:
    """The journal of those who run without a graph: every step is done, nothing is noted."""

    def once(self, step: Callable[[], Plain]) -> Plain:
        """Do it."""
        return step()

    def key(self) -> str:
        """A new one."""
        return uuid4().hex
