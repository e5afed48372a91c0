"""A task with two parts: where it may be cut, and which cuts are worth it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .calibration import SURE, Floats

SEAM = re.compile(
    r"""(?<=[.?!;])\s+                                # a sentence ends
      | \s*,?\s+(?:and|then|also|plus|but|und|et|y)\s+(?:then\s+|also\s+)*   # or another thing is added
    """,
    re.IGNORECASE | re.VERBOSE,
)
MOST_PARTS = 6
LEAST_WORDS = 3

SPLIT_WRONGLY = 0.01
"""Share of tasks for one specialist that may be taken apart by mistake."""


class Piece(NamedTuple):
    """A part of a task and the column of the specialist that it goes to."""

    column: int
    text: str


def segments(text: str) -> list[str]:
    """The text cut at every seam; pieces of fewer words than `LEAST_WORDS` stay with the one before.

    A text without two such pieces, or with very many, is one task.
    """
    found: list[str] = []
    start = 0
    seams = [m.span() for m in SEAM.finditer(text)]
    for cut, resume in [*seams, (len(text), len(text))]:
        piece = text[start:cut].strip()
        if len(piece.split()) >= LEAST_WORDS and len(text[resume:].split()) not in range(1, LEAST_WORDS):
            found.append(piece)
            start = resume
    rest = text[start:].strip()
    if rest and found:
        found[-1] = f"{found[-1]} {rest}" if start else rest
    return found if 2 <= len(found) <= MOST_PARTS else []


def assign(pieces: Sequence[str], probability: Floats, least: float) -> list[Piece]:
    """Who gets which piece; unsure pieces stay with their neighbour. Fewer than two specialists: empty.

    Args:
        probability: (pieces, specialists).
        least: A piece is somebody's from this probability on.
    """
    best = probability.argmax(axis=1)
    sure = probability.max(axis=1) >= least
    if len(set(best[sure].tolist())) < 2:
        return []
    owners = [int(b) if s else None for b, s in zip(best, sure, strict=True)]
    first = next(o for o in owners if o is not None)
    joined: list[Piece] = []
    for piece, owner in zip(pieces, owners, strict=True):
        column = owner if owner is not None else joined[-1].column if joined else first
        if joined and joined[-1].column == column:
            joined[-1] = Piece(column, f"{joined[-1].text} {piece}")
        else:
            joined.append(Piece(column, piece))
    return joined


def strength(probability: Floats) -> float:
    """The largest `least` at which `assign` would still take the task apart."""
    best = probability.argmax(axis=1)
    tops: dict[int, float] = {}
    for column, value in zip(best.tolist(), probability.max(axis=1).tolist(), strict=True):
        tops[column] = max(tops.get(column, 0.0), value)
    return sorted(tops.values())[-2] if len(tops) > 1 else 0.0


def fit_least(strengths: Sequence[float], of: int) -> float:
    """The `least` at which at most `SPLIT_WRONGLY` of the team's single tasks are taken apart.

    Args:
        strengths: Of those of the team's examples that have seams.
        of: How many examples there are, with and without seams.
    """
    ordered = np.sort(np.asarray(strengths, dtype=float))[::-1]
    allowed = int(SPLIT_WRONGLY * of)
    above = float(ordered[allowed]) if allowed < len(ordered) else 0.0
    return min(max(above + 1e-6, 1 - SURE, 0.5), 1.0)
