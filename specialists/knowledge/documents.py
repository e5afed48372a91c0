"""A document as text with structure: what every reader produces and the splitter cuts.

It knows nothing about file formats, passages or search.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from ...core.text import sentence_spans

_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSEEN = re.compile(
    "[\0\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
    "|(?<=[a-zA-Z])[\u200c\u200d](?=[a-zA-Z])"
)
"""Characters that nobody sees: soft hyphens, zero-width spaces, directions, tags. Joiners stay in other scripts."""

PAGE_BREAK = "\f"
"""Stands in a document's text where a page ends, so that a passage knows on which page each of its words is."""


@dataclass(frozen=True)
class Block:
    """A paragraph, list item, table row or piece of code: `document.text[start:end]`."""

    start: int
    end: int
    heading: tuple[str, ...] = ()
    """Titles from the top of the document down to this block."""
    section: int = 0
    """How many headings came before: two sections may have the same title."""
    row: bool = False
    """A table row: never cut."""


@dataclass(frozen=True)
class Document:
    """The extracted text of one file; every offset anywhere in metier points into `text`."""

    source: str
    title: str
    text: str
    blocks: tuple[Block, ...]
    """In order of `start`; they do not overlap."""
    pages: tuple[int, ...] = ()
    """Offset at which page 1, 2, … begins; empty where the format has no pages."""
    notes: tuple[str, ...] = ()
    """What of the file is not in `text`, or looks wrong in it, in words for people."""

    def page(self, offset: int) -> int | None:
        """Page number (from 1) of a character offset."""
        return max(1, bisect_right(self.pages, offset)) if self.pages else None


def clean(text: str) -> str:
    """Text that every file and database can hold and every search finds.

    One kind of line end, composed letters (NFC), and neither lone surrogates nor characters that nobody sees.
    """
    text = _UNSEEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", text))


def render_row(columns: Sequence[str], cells: Sequence[str]) -> str:
    """A table row that explains itself, so that its passage needs no header.

    >>> render_row(["Pump", "Interval", ""], ["P-101", "500 h", "weekly"])
    'Pump: P-101; Interval: 500 h; weekly'
    """
    names = [*columns, *[""] * max(0, len(cells) - len(columns))]
    pairs = [(" ".join(n.split()), " ".join(c.split())) for n, c in zip(names, cells, strict=False)]
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)


class Outline:
    """Collects the parts of a document in reading order and keeps the path of headings.

    A heading without anything below it becomes a block itself, so that its words can be found.
    """

    def __init__(self) -> None:
        self.main_title = ""
        """The first heading of level 1; empty when there is none."""
        self.length = 0
        """Characters written so far."""
        self.notes: list[str] = []
        """What is left out or looks wrong."""
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._path: list[tuple[int, str]] = []
        self._base = 0
        self._section = 0
        self._bare: tuple[int, Block] | None = None
        self._last = (False, False)
        self._breaks = 0
        self._paged = False

    def heading(self, level: int, text: str) -> None:
        """A title; `level` 1 is the highest."""
        text, level = " ".join(clean(text).split()), level + self._base
        if not text:
            return
        self._keep_bare(level)
        self._path = [(depth, title) for depth, title in self._path if depth < level]
        if level == 1 and not self.main_title:
            self.main_title = text
        start = self._write(text, "\n\n")
        self._section += 1
        self._bare = level, Block(start, self.length, self._titles(), self._section)
        self._path.append((level, text))

    def paragraph(self, text: str, *, joined: bool = False, label: str = "", across_pages: bool = False) -> None:
        """A block of running text. `joined` puts it right below the block before (list items).

        With a `label` it belongs to the rows that have the same. A text `across_pages` holds a `PAGE_BREAK` where each
        of them ends.
        """
        text = clean(text) if across_pages else clean(text).replace(PAGE_BREAK, "\n")
        self._add(text.strip("\n").rstrip(), joined, label=label)

    def begin_page(self) -> None:
        """The next page begins here."""
        self._breaks += self._paged
        self._paged = True

    def row(self, columns: Sequence[str], cells: Sequence[str], label: str = "") -> None:
        """A table row. A `label` ("row 7") makes it a section, and so a passage, of its own."""
        self._add(clean(render_row(columns, cells)), joined=True, row=True, label=label)

    @contextmanager
    def below(self, level: int) -> Iterator[None]:
        """Headings inside the block count from here: a document within a document."""
        before, self._base = self._base, self._base + level
        yield
        self._base = before

    def document(self, source: str, title: str) -> Document:
        """Everything collected so far."""
        self._keep_bare(0)
        text = "".join(self._parts)
        pages = (0, *(found.end() for found in re.finditer(PAGE_BREAK, text))) if self._paged else ()
        return Document(source, " ".join(clean(title).split()), text, tuple(self._blocks), pages, tuple(self.notes))

    def _add(self, text: str, joined: bool, row: bool = False, label: str = "") -> None:
        if not text.strip():
            return
        kind = (joined, row)
        follows = joined and self._bare is None and kind == self._last
        self._bare, self._last = None, kind
        start = self._write(text, "\n" if follows else "\n\n")
        heading = (*self._titles(), label) if label else self._titles()
        self._blocks.append(Block(start, self.length, heading, self._section, row))

    def _titles(self) -> tuple[str, ...]:
        return tuple(title for _, title in self._path)

    def _write(self, text: str, gap: str) -> int:
        """Append; gives the offset of the text."""
        if self._breaks:
            gap = "\n" * bool(self._parts) + PAGE_BREAK * self._breaks + "\n"
        elif not self._parts:
            gap = ""
        self._breaks = 0
        start = self.length + len(gap)
        self._parts += [gap, text]
        self.length = start + len(text)
        return start

    def _keep_bare(self, level: int) -> None:
        if self._bare is not None and level <= self._bare[0]:
            self._blocks.append(self._bare[1])
        self._bare = None


# Documents to passages: cut along headings, then paragraphs and rows, then sentences.


_TOKEN = re.compile(r"\w+|[^\w\s]")


_LONG_WORD = 30


HUGE = 8
"""A table row longer than so many passages of a table is cut at sentences after all."""


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
    paragraphs, lists and tables where possible, then between their items and rows, then between sentences. Sentences
    and table rows stay whole, unless one alone is longer than a passage (rows: than `HUGE` passages of a table).
    """
    spans: list[Span] = []
    for (_, heading), blocks in groupby(document.blocks, key=lambda block: (block.section, block.heading)):
        for is_table, runs in groupby(_runs(document.text, list(blocks)), key=lambda run: run[-1].row):
            longest = ceil(size * _TABLE) if is_table else size
            units = [unit for run in runs for unit in _whole_or_cut(document.text, run, longest)]
            spans += [Span(start, end, heading) for start, end in _pack(units, longest)]
    return spans


_TABLE = 0.5
"""So much of a passage's length a table's may have: each row is about something else, and the vector of many rows comes
near to the question about none."""


_Unit = tuple[int, int, int]
"""Start, end, length in words and punctuation marks: what is not cut any further."""


def _runs(text: str, blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Blocks that belong together: the items of a list, the rows of a table, with the line that announces them."""
    run: list[Block] = []
    for block in blocks:
        if run and not belongs_on(text[run[-1].start : run[-1].end], block.start - run[-1].end):
            yield run
            run = []
        run.append(block)
    if run:
        yield run


def belongs_on(before: str, gap: int) -> bool:
    """Whether what follows `gap` characters later goes on with the same list, table or paragraph, or is announced."""
    return gap <= 1 or (gap <= len("\n\n") and before.rstrip().endswith((":", "：")))


def _whole_or_cut(text: str, run: Sequence[Block], size: int) -> list[_Unit]:
    units = [unit for block in run for unit in _units(text, block, size)]
    total = sum(length for _, _, length in units)
    return [(units[0][0], units[-1][1], total)] if total <= size else units


def _units(text: str, block: Block, size: int) -> Iterator[_Unit]:
    length = count(text[block.start : block.end])
    if length <= (size * HUGE if block.row else size):
        yield block.start, block.end, length
        return
    for start, end in sentence_spans(text, block.start, block.end):
        length = count(text[start:end])
        if length <= size:
            yield start, end, length
        else:
            yield from _pieces(text, start, end, size)


def _pieces(text: str, start: int, end: int, size: int) -> Iterator[_Unit]:
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


def _pack(units: Sequence[_Unit], size: int) -> Iterator[tuple[int, int]]:
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
