"""A specialist's own examples, shown to the model as earlier turns: those that are most like the task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np

from ...core.embedding import Embedder, Vectors
from ...core.text import codes
from ..prompt import Shot
from .style import Opening, Row

_SHOWN = 3
"""Examples that are shown; each costs about 40 tokens."""


class ExampleShots:
    """The example rows that say what is right, found by meaning.

    Args:
        rows: Reads them, when the first task comes.
        embedder: Compares tasks.
    """

    def __init__(self, rows: Callable[[], Iterable[Row]], embedder: Embedder) -> None:
        self._read, self._embedder = rows, embedder

    @cached_property
    def _rows(self) -> list[Row]:
        return [row for row in self._read() if "answer" in row]

    @cached_property
    def _vectors(self) -> Vectors:
        return self._embedder.embed([row["input"] for row in self._rows])

    def nearest(self, task: str, *, besides: str = "") -> list[Row]:
        """The rows most like a task, the nearest last: next to what is asked.

        Args:
            besides: The task of a row that is not shown; a lesson would hold its own answer.
        """
        if not self._rows:
            return []
        cosines = self._vectors @ self._embedder.embed([task])[0]
        order = [self._rows[int(n)] for n in np.argsort(-cosines, kind="stable")]
        return [row for row in order if not besides or row["input"] != besides][:_SHOWN][::-1]


def open_shots(opening: Opening) -> ExampleShots:
    """What a style opens that shows its examples."""
    return ExampleShots(opening.rows, opening.embedder)


def copied(text: str, shots: Sequence[Shot], known: str) -> set[str]:
    """Codes of an answer that stand in an example and in nothing that is known of this task: taken over by mistake."""
    shown = codes(" ".join(shot.answer for shot in shots))
    return (codes(text) & shown) - codes(known)
