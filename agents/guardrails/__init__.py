"""The seam between graph and guardrails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...core.types import Citation


@dataclass(frozen=True)
class Verdict:
    """What a guardrail says: the text to go on with, what it did, or a refusal."""

    text: str
    acted: dict[str, str] = field(default_factory=dict)
    """Guardrails that did something: name to what."""
    refusal: str | None = None
    """Set when the turn ends here: the sentence that the user reads."""


class Guard(Protocol):
    """Looks at a text on its way in or out."""

    def __call__(self, text: str, *, citations: Sequence[Citation] = ()) -> Verdict: ...
