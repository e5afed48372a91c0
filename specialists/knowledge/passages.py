"""Documents to passages: cut along headings, then paragraphs and rows, then sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from .document import Block, Document

_TOKEN = re.compile(r"\w+|[^\w\s]")
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\Wa-z_])|\n\s*\n|(?<=[。！？])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|e\.g|i\.e|etc|vs|cf|al|approx|Dr|Mr|Mrs|Ms|Prof|St|No|Nos|Fig|Figs|Eq|Sec|Ch|Art|Inc|Ltd|Co|Corp"
    r"|Jr|Sr|Vol|pp|ed|eds|min|max|ca)\.)\Z"
)
_LONG_WORD = 30
HUGE = 4
"""A table row longer than so many passages is cut at sentences after all."""


@dataclass(frozen=True)
class Span:
    """A passage to be: `document.text[start:end]`, with the titles above it."""

    start: int
    end: int
    heading: tuple[str, ...]


def count(text: str) -> int:
    """Length in words and punctuation marks; an endless word counts once more for every `_LONG_WORD` characters."""
    return sum(1 + (m.end() - m.start()) // _LONG_WORD for m in _TOKEN.finditer(text))


def split(document: Document, size: int) -> list[Span]:
    """Cut a document into passages of about `size` words and punctuation marks.

    A passage never crosses a heading; a section that is too long is cut into pieces of similar length, between
    blocks where possible, then between sentences. Sentences and table rows stay whole, unless one alone is
    longer than a passage (rows: longer than `HUGE` passages).
    """
    spans: list[Span] = []
    for (_, heading), blocks in groupby(document.blocks, key=lambda block: (block.section, block.heading)):
        units = [unit for block in blocks for unit in _units(document.text, block, size)]
        spans += [Span(start, end, heading) for start, end in _pack(units, size)]
    return spans


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Offsets of the sentences of `text[start:end]`, without the white space between them."""
    end = len(text) if end is None else end
    begin = start
    for gap in _SENTENCE.finditer(text, start, end):
        if "\n" not in gap[0] and _ABBREVIATION.search(text, max(begin, gap.start() - 12), gap.start()):
            continue
        stop = gap.start() + len(gap[0].rstrip())
        if text[begin:stop].strip():
            yield begin, stop
            begin = gap.end()
    if text[begin:end].strip():
        yield begin, end


Unit = tuple[int, int, int]
"""Start, end, length in words and punctuation marks: what is not cut any further."""


def _units(text: str, block: Block, size: int) -> Iterator[Unit]:
    length = count(text[block.start : block.end])
    if length <= (size * HUGE if block.row else size):
        yield block.start, block.end, length
        return
    for start, end in sentences(text, block.start, block.end):
        length = count(text[start:end])
        if length <= size:
            yield start, end, length
        else:
            yield from _pieces(text, start, end, size)


def _pieces(text: str, start: int, end: int, size: int) -> Iterator[Unit]:
    """A sentence that is too long, cut between words, and endless words by characters."""
    begin, filled, before = start, 0, start
    for token in _TOKEN.finditer(text, start, end):
        for cut in range(token.start(), token.end(), _LONG_WORD):
            if filled == size:
                yield begin, before if cut == token.start() else cut, filled
                begin, filled = cut, 0
            filled += 1
        before = token.end()
    yield begin, end, filled


def _pack(units: Sequence[Unit], size: int) -> Iterator[tuple[int, int]]:
    """Neighbouring units joined to spans of similar length, none longer than `size` unless one unit is."""
    total = sum(length for _, _, length in units)
    target = total / max(1, ceil(total / size))
    start = end = None
    filled = 0
    for begin, stop, length in units:
        if start is not None and end is not None and (filled + length > size or filled + length / 2 > target):
            yield start, end
            start, filled = None, 0
        start = begin if start is None else start
        end, filled = stop, filled + length
    if start is not None and end is not None:
        yield start, end
