"""PDF: text by page in reading order, headings from the bookmarks; pictures of text where the extra `ocr` is there."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import pypdfium2 as pdfium

from ....core.errors import UnreadableDocument, install_line
from ..documents import PAGE_BREAK, Document, Outline
from .page_layout import Line, lines_of, paragraphs_of, runs_on, without_furniture
from .ruled_tables import RuledTable
from .scan import can_read_scans, has_picture, recognised_lines
from .tables import add_table, headed
from .text import title_of

Bookmark = tuple[int, int, str]
"""Page index, level from 1, title."""

_MOST_BOOKMARKS = 5_000
_MOST_PAGES = 20_000
ONE_AT_A_TIME = threading.Lock()
"""PDFium is not made for several threads."""


def read_pdf(path: Path, source: str) -> Document:
    """A PDF file. A page that cannot be read is noted and left out; the others stay."""
    with ONE_AT_A_TIME:
        file = _read(path)
    if not any(file.pages):
        pages = f"no text on its {len(file.pages)} page{'s'[: len(file.pages) != 1]}"
        scan = f": a scan. To read scans: {install_line('ocr')}" if file.pictures and not can_read_scans() else ""
        raise UnreadableDocument("; ".join([pages + scan, *file.notes]))
    document = _assemble(source, file.title, without_furniture(file.pages), file.bookmarks)
    return replace(document, notes=(*document.notes, *file.notes))


@dataclass
class _Pages:
    """What a file holds, and what of it could not be read."""

    pages: list[list[Line]] = field(default_factory=list)
    bookmarks: list[Bookmark] = field(default_factory=list)
    title: str = ""
    damaged: list[int] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    """Numbers, from 1, of pages that hold pictures and no text."""
    recognised: list[int] = field(default_factory=list)
    """Those of them that text recognition has read."""
    missing: int = 0
    """Pages beyond the most that are read."""

    @property
    def notes(self) -> list[str]:
        """For people."""
        unread = [number for number in self.pictures if number not in self.recognised]
        notes = []
        if self.damaged:
            notes.append(f"{_numbers(self.damaged)} cannot be read: damaged")
        if unread and any(self.pages):
            way = "" if can_read_scans() else f" (to read scans: {install_line('ocr')})"
            notes.append(f"{_numbers(unread)}: only a picture, no text{way}")
        if self.recognised:
            notes.append(f"{_numbers(self.recognised)}: a picture, read by text recognition")
        if self.missing:
            notes.append(f"the last {self.missing} pages are left out")
        return notes


def _numbers(pages: Sequence[int]) -> str:
    """
    >>> _numbers([1, 2, 3, 7])
    'pages 1-3, 7'
    """
    runs = [[number for _, number in run] for _, run in groupby(enumerate(pages), lambda pair: pair[1] - pair[0])]
    said = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"page{'s'[: len(pages) > 1]} {said}"


def _read(path: Path) -> _Pages:
    try:
        file = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise UnreadableDocument("it is protected by a password") from error
        raise UnreadableDocument("it is not a PDF file, or a damaged one") from error
    try:
        found = _Pages(missing=max(0, len(file) - _MOST_PAGES))
        for index in range(min(len(file), _MOST_PAGES)):
            found.pages.append(_page(file, index, found))
        found.bookmarks, found.title = list(_bookmarks(file)), file.get_metadata_value("Title")
        return found
    finally:
        file.close()


def _page(file: pdfium.PdfDocument, index: int, found: _Pages) -> list[Line]:
    try:
        page = file[index]
        text = page.get_textpage()
    except pdfium.PdfiumError:
        found.damaged.append(index + 1)
        return []
    try:
        lines = lines_of(page, text)
        if lines or not has_picture(page):
            return lines
        found.pictures.append(index + 1)
        lines = recognised_lines(page) if can_read_scans() else []
        found.recognised += [index + 1] * bool(lines)
        return lines
    finally:
        text.close()
        page.close()


def _bookmarks(file: pdfium.PdfDocument) -> Iterator[Bookmark]:
    """Bookmarks with a title that lead to a page; damaged ones are left out."""
    try:
        for number, entry in enumerate(file.get_toc()):
            target = entry.get_dest()
            page = target.get_index() if target is not None else None
            title = entry.get_title().strip()
            if page is not None and title and number < _MOST_BOOKMARKS:
                yield page, entry.level + 1, title
    except (pdfium.PdfiumError, UnicodeDecodeError, RecursionError):
        return


@dataclass(frozen=True)
class _Part:
    """A paragraph, a table or, with a level, a heading."""

    page: int
    text: str = ""
    level: int = 0
    table: RuledTable | None = None

    @property
    def last_page(self) -> int:
        return self.page + self.text.count(PAGE_BREAK)

    @property
    def is_running_text(self) -> bool:
        return not self.level and self.table is None


def _assemble(source: str, title: str, pages: list[list[Line]], bookmarks: list[Bookmark]) -> Document:
    outline, begun = Outline(), 0
    hyphens = _Hyphens(text for lines in pages for line in lines for text in line.text.split("\n"))
    for part in _tables_over_pages(_over_pages(list(_parts(pages, bookmarks)))):
        while begun <= part.page:
            outline.begin_page()
            begun += 1
        if part.level:
            outline.heading(part.level, part.text)
        elif part.table:
            add_table(
                outline, [[replace(cell, text=hyphens.join(cell.text)) for cell in row] for row in part.table.rows]
            )
        else:
            outline.paragraph(hyphens.join(part.text), across_pages=True)
        begun += part.text.count(PAGE_BREAK)
    return outline.document(source, title.strip() or outline.main_title or title_of(source))


def _parts(pages: Sequence[Sequence[Line]], bookmarks: Sequence[Bookmark]) -> Iterator[_Part]:
    """Paragraphs and tables, with the headings of a page where its bookmarks' titles stand, else above it."""
    for index, lines in enumerate(pages):
        parts = [
            _Part(index, table=some) if isinstance(some, RuledTable) else _Part(index, some)
            for some in paragraphs_of(lines)
        ]
        for page, level, name in bookmarks:
            if page == index:
                before, parts = _split_at(parts, name)
                yield from before
                yield _Part(index, name, level)
        yield from parts


def _over_pages(parts: Sequence[_Part]) -> list[_Part]:
    """A paragraph that goes on over a page break becomes one, with the break in it."""
    whole: list[_Part] = []
    for part in parts:
        before = whole[-1] if whole else None
        ends = before and before.is_running_text and part.is_running_text and before.last_page < part.page
        if before is not None and ends and runs_on(before.text, part.text):
            breaks = PAGE_BREAK * (part.page - before.last_page)
            whole[-1] = replace(before, text=before.text + breaks + part.text)
        else:
            whole.append(part)
    return whole


def _tables_over_pages(parts: Sequence[_Part]) -> Iterator[_Part]:
    """A table that goes on on the next page has the header of the first there, too."""
    before: _Part | None = None
    for part in parts:
        if before and before.table and part.table and before.page < part.page and before.table.goes_on_in(part.table):
            rows = headed(part.table.rows, before.table.rows)
            part = replace(part, table=replace(part.table, rows=tuple(map(tuple, rows))))
        yield part
        before = part


def _split_at(parts: Sequence[_Part], title: str) -> tuple[list[_Part], list[_Part]]:
    """What comes before and after the line that is the title; all of it counts as after when there is none."""
    words = re.compile(r"^\W*" + r"\s+".join(map(re.escape, title.split())) + r"\W*$", re.MULTILINE | re.IGNORECASE)
    for number, part in enumerate(parts):
        if part.is_running_text and (line := words.search(part.text)):
            before, after = (
                [replace(part, text=text)] if text.strip() else []
                for text in (part.text[: line.start()], part.text[line.end() :])
            )
            return [*parts[:number], *before], [*after, *parts[number + 1 :]]
    return [], [*parts]


# Words that were cut at the end of a line: joined again, unless the hyphen is part of the word.


_CUT = re.compile(r"(\w+)[-\u2010\u00ad]\n(?=(\w+))")
_OVER_PAGES = re.compile(rf"([-\u2010\u00ad]){PAGE_BREAK}(\w\S*)[^\S\n]?")
_LINE_END = re.compile(r"\w[-\u2010\u00ad]\Z")
_WORD = re.compile(r"\w+(?:-\w+)*")

_BEGINNINGS = frozenset("cross ex half non quasi self well".split())
_SOMETIMES = frozenset(
    """
    all double five four full hand heat heavy high light long low multi oil one right short single six three two water
    """.split()
)
"""These keep their hyphen before what is a word of its own in the document."""
_ENDINGS = frozenset(
    """
    based controlled cooled driven duty flammable locking mounted operated powered related resistant sensitive shaped
    specific
    """.split()
)
_BETWEEN = frozenset("and or to und oder bzw bis et ou y e o".split())
"""After these the hyphen stands for a word that is left out: "two-" "and three-phase"."""


class _Hyphens:
    """Decides by the document's own words, then by words that are mostly written with a hyphen."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._words: set[str] = set()
        cut = False
        for line in lines:
            words, begins_cut, cut = _WORD.findall(line), cut, bool(_LINE_END.search(line))
            self._words |= {word.casefold() for word in words[begins_cut : len(words) - cut]}

    def join(self, text: str) -> str:
        """The text with its cut words whole. A page break inside a word moves behind it."""
        return _CUT.sub(self._joined, _OVER_PAGES.sub(rf"\1\n\2{PAGE_BREAK}", text))

    def _joined(self, cut: re.Match[str]) -> str:
        left, right = cut[1], cut[2]
        if right in _BETWEEN:
            return cut[0]
        return f"{left}-" if self._keeps(left, right) else left

    def _keeps(self, left: str, right: str) -> bool:
        if len(left) == 1 or any(map(str.isdigit, left)) or not right[0].islower():
            return True
        whole, parted = (f"{left}{mark}{right}".casefold() in self._words for mark in ("", "-"))
        if whole != parted:
            return parted
        first, second = left.casefold(), right.casefold()
        return first in _BEGINNINGS or second in _ENDINGS or (first in _SOMETIMES and second in self._words)
