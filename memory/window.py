"""What of the thread matters for the task at hand: only a task that refers back gets the last turns with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.types import Turn

_REFERS = re.compile(
    r"^\s*(?:and|or|but|also|then|what about|how about|same|what else|why|since when|until when|by whom|for whom)\b"
    r"|\b(?:it|its|that|those|these|this one|they|them|their|there|the same|the other|the latter|the former|instead)\b",
    re.IGNORECASE,
)
_SHORT = 4
"""Words up to which a task counts as an ellipsis ('for line 3?')."""


@dataclass(frozen=True)
class Recalled:
    """The task, made fit for routing and search."""

    query: str
    """Self-contained: what it refers to comes first."""
    window: tuple[Turn, ...] = ()
    """The turns that it refers to; empty when it stands alone."""


def refers_back(task: str) -> bool:
    """Does the task need an earlier turn to be understood?

    >>> refers_back("And for the labeller?"), refers_back("How often is the chiller's filter cleaned?")
    (True, False)
    """
    return bool(_REFERS.search(task)) or len(task.split()) <= _SHORT


def recall(task: str, turns: Sequence[Turn]) -> Recalled:
    """Join a task that refers back with the last question and answer; leave others alone.

    Args:
        task: The new task.
        turns: The thread so far, oldest first.
    """
    asked = next((t for t in reversed(turns) if t.role == "user"), None)
    if asked is None or not refers_back(task):
        return Recalled(query=task)
    last = turns[-2:] if turns[-1].role == "assistant" else turns[-1:]
    return Recalled(query=f"{asked.text} {task}", window=tuple(last))
