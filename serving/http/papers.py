"""Documents for people: their text with headings, tables and pages, a page as it looks with a quote marked on it, and
files in and out of a specialist's folder.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import pypdfium2 as pdfium
from PIL import Image, ImageChops, ImageDraw

from ...agents.attachments import check_document
from ...agents.cards import Blueprint
from ...core.files import write_atomic
from ...core.types import Passage, Value
from ...specialists.knowledge.build import scan
from ...specialists.knowledge.documents import PAGE_BREAK
from ...specialists.knowledge.readers import with_readers
from ...specialists.knowledge.readers.pdf import ONE_AT_A_TIME
from ..knowledge import documents_folder
from .errors import ServingError

_SHOWN = 160_000
"""Characters of a document that are shown at once: of a longer one, those around the quote."""
_GAP = re.compile(r"\n*\f[\n\f]*|\n{2,}")
_WIDE = 1100
"""Pixels of a page's picture, from left to right."""
_MARKED = (255, 229, 120)
_LONGEST_COLUMN = 60

# The text of a document, in pieces that a page can show.


class CellText(Value):
    """A piece of text and where it begins in the document."""

    text: str
    start: int


class TableRow(Value):
    """A row of a table."""

    start: int
    end: int
    cells: tuple[CellText | None, ...]
    """One a column; None where the row says nothing."""


class DocumentBlock(Value):
    """A heading, a paragraph, a table, or where a page begins."""

    kind: Literal["heading", "paragraph", "table", "page"]
    text: str = ""
    start: int = 0
    level: int = 1
    """Of a heading; 1 is the highest."""
    number: int = 0
    """Of a page."""
    columns: tuple[str, ...] = ()
    rows: tuple[TableRow, ...] = ()


class Paper(Value):
    """A document to be shown."""

    source: str
    title: str
    specialist: str
    """Whose it is; empty for an attached file."""
    pages: int = 0
    """That can be drawn."""
    original: bool = False
    """The file itself can be had."""
    before: bool = False
    """Text before the first piece is left out."""
    after: bool = False
    blocks: tuple[DocumentBlock, ...] = ()


def window(text: str, start: int) -> tuple[int, int]:
    """The part of a text that is shown around an offset, cut where paragraphs end."""
    if len(text) <= _SHOWN:
        return 0, len(text)
    low = max(0, min(start - _SHOWN // 2, len(text) - _SHOWN))
    first = text.find("\n\n", low) + 2 if low else 0
    last = text.rfind("\n\n", first, first + _SHOWN)
    return first, last if last > first else min(len(text), first + _SHOWN)


def blocks_of(text: str, passages: Sequence[Passage], first: int = 0, last: int | None = None) -> list[DocumentBlock]:
    """The pieces of `text[first:last]`; headings are known from the passages below them."""
    last = len(text) if last is None else last
    levels = {title: depth for p in passages for depth, title in enumerate(p.heading, 1)}
    found = list[DocumentBlock]()
    page = text.count(PAGE_BREAK, 0, first) + 1
    if PAGE_BREAK in text:
        found.append(DocumentBlock(kind="page", number=page, start=first))
    at = first
    for gap in [*_GAP.finditer(text, first, last), None]:
        end = gap.start() if gap else last
        if text[at:end].strip():
            found.append(_piece(text, at, end, levels))
        if gap and PAGE_BREAK in gap[0]:
            page += gap[0].count(PAGE_BREAK)
            found.append(DocumentBlock(kind="page", number=page, start=gap.start()))
        at = gap.end() if gap else last
    return found


def _piece(text: str, start: int, end: int, levels: dict[str, int]) -> DocumentBlock:
    words = text[start:end]
    if words in levels:
        return DocumentBlock(kind="heading", text=words, start=start, level=min(4, levels[words]))
    lines = [(start + m.start(), m[0]) for m in re.finditer(r"[^\n]+", words)]
    table = _table(lines)
    return table or DocumentBlock(kind="paragraph", text=words, start=start)


def _table(lines: Sequence[tuple[int, str]]) -> DocumentBlock | None:
    """Rows that explain themselves ("Pump: P-101; Interval: 500 h") as the table that they were."""
    names = [[name for _, part in _parts(line) if (name := _name(part))] for _, line in lines]
    often = Counter(name for row in names for name in dict.fromkeys(row))
    columns = tuple(name for name, count in often.items() if count * 3 >= len(lines))
    if len(columns) < 2 or any(sum(name in columns for name in row) < 2 for row in names):
        return None
    rows = [TableRow(start=at, end=at + len(line), cells=_cells(at, line, columns)) for at, line in lines]
    return DocumentBlock(kind="table", start=lines[0][0], columns=columns, rows=tuple(rows))


def _parts(line: str) -> Iterator[tuple[int, str]]:
    """Offset and text of what stands between semicolons."""
    at = 0
    for part in line.split("; "):
        yield at, part
        at += len(part) + 2


def _name(part: str) -> str:
    """The column that a cell names; empty when it names none."""
    name, colon, _ = part.partition(": ")
    return name if colon and len(name) <= _LONGEST_COLUMN else ""


def _cells(at: int, line: str, columns: Sequence[str]) -> tuple[CellText | None, ...]:
    said = dict[str, CellText]()
    last = ""
    for begin, part in _parts(line):
        name = _name(part)
        if name in columns and name not in said:
            value = len(name) + 2
            said[name], last = CellText(text=part[value:], start=at + begin + value), name
        elif last:  # a semicolon within a cell
            said[last] = said[last].model_copy(update={"text": f"{said[last].text}; {part}"})
    return tuple(said.get(name) for name in columns)


# A page as it looks.


def count_pages(path: Path) -> int:
    """Pages of a PDF file; 0 when it cannot be opened."""
    with ONE_AT_A_TIME:
        try:
            with closing(pdfium.PdfDocument(path)) as file:
                return len(file)
        except pdfium.PdfiumError:
            return 0


def draw_page(path: Path, number: int, quote: str = "") -> bytes:
    """A page of a PDF file as PNG, the quote marked on it where it is found.

    Raises:
        ServingError: 404, there is no such page.
    """
    with ONE_AT_A_TIME:
        try:
            with closing(pdfium.PdfDocument(path)) as file:
                if not 1 <= number <= len(file):
                    raise ServingError(404, f"it has {len(file)} pages, no page {number}")
                page = file[number - 1]
                scale = _WIDE / page.get_width()
                picture = page.render(scale=scale).to_pil().convert("RGB")
                boxes = list(_boxes(page, quote)) if quote.strip() else []
                high = page.get_height()
        except pdfium.PdfiumError as error:
            raise ServingError(404, f"this page cannot be drawn: {error}") from error
    picture = _marked(picture, [(x * scale, (high - y) * scale, r * scale, (high - b) * scale) for x, b, r, y in boxes])
    written = io.BytesIO()
    picture.quantize(128).save(written, "PNG")
    return written.getvalue()


def _boxes(page: pdfium.PdfPage, quote: str) -> Iterator[tuple[float, float, float, float]]:
    """Left, bottom, right, top of the lines of a quote, in points."""
    with closing(page.get_textpage()) as text:
        said = text.get_text_range()
        places = [n for n, letter in enumerate(said) if letter.isalnum()]
        wanted = "".join(filter(str.isalnum, quote)).casefold()
        at = "".join(said[n] for n in places).casefold().find(wanted)
        if at < 0 or not wanted:
            return
        first, last = places[at], places[min(at + len(wanted), len(places)) - 1]
        for number in range(text.count_rects(first, last - first + 1)):
            yield text.get_rect(number)


def _marked(picture: Image.Image, boxes: Sequence[tuple[float, float, float, float]]) -> Image.Image:
    """As with a marker pen: what is dark stays dark."""
    ink = Image.new("RGB", picture.size, "white")
    draw = ImageDraw.Draw(ink)
    for left, top, right, bottom in boxes:
        draw.rounded_rectangle((left - 4, top - 3, right + 4, bottom + 3), 4, fill=_MARKED)
    return ImageChops.multiply(picture, ink)


# Files in and out.


def original(plan: Blueprint, source: str, names: Iterable[str]) -> Path | None:
    """The file behind a document, by its name in the index of one of these specialists; None when it is gone."""
    for name in names:
        card = plan.specialists[name].knowledge
        places = [path for s in (card.sources if card else ()) if (path := plan.folders[name] / s).exists()]
        kinds = with_readers(card.readers if card else {}, [plan.root])
        if (path := scan(places, plan.root, kinds).files.get(source)) is not None:
            return path
    return None


def keep(plan: Blueprint, specialist: str, name: str, data: bytes) -> None:
    """Put a document into a specialist's folder, once it is known that it can be read. The next build indexes it.

    Raises:
        InputError: the name is none for a file, or the document cannot be read.
        ConfigError: the card names no folder.
    """
    card = plan.specialists[specialist].knowledge
    check_document(name, data, with_readers(card.readers if card else {}, [plan.root]))
    write_atomic(documents_folder(plan, specialist) / name, data)


def discard(plan: Blueprint, specialist: str, source: str) -> None:
    """Delete a document's file; the next build takes it out of the index.

    Raises:
        ServingError: 404, this specialist has no such document in its folder.
    """
    path = original(plan, source, [specialist])
    if path is None or not path.resolve().is_relative_to(plan.folders[specialist].resolve()):
        raise ServingError(404, f"'{specialist}' has no document '{source}' in its folder", code="document_not_found")
    path.unlink()
