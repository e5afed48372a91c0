"""The guard of what a model is about to read, for the passages of documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...core.types import Passage
from .verdict import Guard


def sift(guard: Guard) -> Callable[[Sequence[Passage]], tuple[Sequence[Passage], dict[str, str]]]:
    """A function from passages to those that may be read, and what the guards did about the others.

    A passage that a guard would change is left out too: citations must stand in the document word for word.
    """

    def look(passages: Sequence[Passage]) -> tuple[Sequence[Passage], dict[str, str]]:
        kept: list[Passage] = []
        acted: dict[str, str] = {}
        for passage in passages:
            verdict = guard(passage.text)
            if verdict.action == "pass":
                kept.append(passage)
            for name, did in verdict.acted.items():
                told = f"left out a passage of {passage.source} ({did})"
                acted[name] = f"{acted[name]}; {told}" if name in acted else told
        return kept, acted

    return look
