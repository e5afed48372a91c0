"""Named events of a run, for streaming, traces and the chat page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from .types import Value

EventName = Literal["guard", "recall", "route", "retrieve", "token", "tool", "handoff", "check", "waiting", "answer"]


class Event(Value):
    """Something that happened. `specialist` is set for what happens inside one."""

    name: EventName
    specialist: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


Emit = Callable[[Event], None]
"""Where events go. Parts that emit take one of these and never know who listens."""


def ignore(event: Event) -> None:
    """The `Emit` of those who do not listen."""
