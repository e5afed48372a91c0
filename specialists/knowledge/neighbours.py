"""Which passages are read as one: what a cut has torn, what was found side by side, what only announces the next."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ...core.types import Passage
from .documents import belongs_on

REACH = 2
"""Passages before and after one that are looked at."""
_LONGEST = 2.0
"""Passages joined are at most so many times as long as one may be."""
_FEW = 0.25
"""A passage that is shorter than this share of what it may be says little without what is below it."""
_SAME_SECTION = len("\n\f\n")
"""Characters between two passages of one section, where no heading stands between them."""
_ROW = re.compile(r"[^\n:;]+: [^\n]*; [^\n]+")
"""A table row says itself what it is about: it needs no neighbours."""


def stretch(passage: Passage, near: Sequence[Passage], found: Collection[Passage], size: float) -> Sequence[Passage]:
    """The passages that are read as one with a passage: itself, and neighbours.

    `near` are the passages around it, in order and with itself; `found` those that fit the question; `size` is the
    number of characters that one may have.
    """
    hits = {other.id for other in found}
    first = last = [other.id for other in near].index(passage.id)

    def fits(begin: int, end: int, share: float) -> bool:
        return begin >= 0 and end < len(near) and near[end].end - near[begin].start <= share * size

    while fits(first, last + 1, _LONGEST) and _reads_on(near[last], near[last + 1], hits):
        last += 1
    while fits(first - 1, last, _LONGEST) and _reads_on(near[first - 1], near[first], hits):
        first -= 1
    while fits(first, last, _FEW) and fits(first, last + 1, 1.0) and _is_below(near[last + 1], passage):
        last += 1
    return near[first : last + 1]


def _reads_on(one: Passage, other: Passage, hits: Collection[str]) -> bool:
    """Whether two neighbours are read as one: both were found, or a list or a paragraph is cut between them."""
    gap = other.start - one.end
    if one.heading != other.heading or gap > _SAME_SECTION:
        return False
    return {one.id, other.id} <= set(hits) or (belongs_on(one.text, gap) and not _ROW.match(one.text))


def _is_below(inner: Passage, outer: Passage) -> bool:
    return len(inner.heading) > len(outer.heading) and inner.heading[: len(outer.heading)] == outer.heading
