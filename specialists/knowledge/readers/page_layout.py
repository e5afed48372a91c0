"""A PDF page as lines in the order in which people read them: columns one after the other, running heads left out.

Lengths are points, with the origin at the lower left of the page.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from statistics import median
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from ..documents import clean
from .ruled_tables import RuledGrid, RuledTable, grids_of, read_grid

_MARGIN = 0.12
"""Running heads and feet stand in this share of the page's height, above and below."""
_STRIP = 2.0
"""Width of the strips in which a gutter between columns is looked for."""
_MOST_STRIPS = 1_000
_MOST_LETTERS = 200_000
"""Letters that are read from one page; a page of a book has 3,000."""
_SMALLEST = 1.0
"""Letters that are lower than this are not read by anybody."""
_WHITE = 250
_MOST_SHAPES = 5_000
_PAGE_NUMBER = re.compile(
    r"\W*(?:page|seite|p|s|pg)?[.\s]*(?P<number>\d{1,4})(?:\s*(?:of|von|/)\s*\d{1,4})?\W*", re.IGNORECASE
)
_ROMAN = re.compile(r"\W*[ivxl]{1,6}\W*")
_PAGE_WORDS = re.compile(r"\b(?:page|seite|of|von|p|s|pg)\b|[\W\d_]", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """A line of a page, or of one of its columns."""

    text: str
    left: float
    bottom: float
    right: float
    top: float
    zone: int = 0
    """Counts the columns and the parts between them, in reading order."""
    place: float = 0.5
    """Where on the page: 0 at its lower edge, 1 at its upper one."""
    table: RuledTable | None = None
    """A whole table stands here; the text is that of its cells."""

    @property
    def height(self) -> float:
        """Of the letters, with what rises above and hangs below."""
        return self.top - self.bottom

    @property
    def middle(self) -> float:
        """Height of its middle above the page's lower edge."""
        return (self.top + self.bottom) / 2


def lines_of(page: pdfium.PdfPage, text: pdfium.PdfTextPage) -> list[Line]:
    """The lines of a page in reading order. A page that is set upside down or sideways keeps the order of its file."""
    height = page.get_height() or 1.0
    if _is_turned(text):
        plain = [line.strip() for line in _letters(text.get_text_range()).split("\n")]
        return [Line(line, 0, -n, 0, -n) for n, line in enumerate(plain) if line]
    grids = grids_of(page)
    return in_reading_order(_with_tables(_fragments(text, _Sight(page, text), grids), grids), height)


def in_reading_order(fragments: list[Line], height: float) -> list[Line]:
    """Pieces of lines put together to lines, and columns one after the other; `height` is that of the page."""
    lines = []
    for number, zone in enumerate(_zones(fragments)):
        for row in _rows(zone):
            if row[0].table:
                lines.append(replace(row[0], zone=number, place=row[0].middle / height))
                continue
            box = (row[0].left, min(f.bottom for f in row), row[-1].right, max(f.top for f in row))
            words = " ".join(" ".join(fragment.text for fragment in row).split())
            lines.append(Line(words, *box, number, (box[1] + box[3]) / 2 / height))
    return lines


def paragraphs_of(lines: Sequence[Line]) -> list[str | RuledTable]:
    """Lines joined by line breaks, where the space between them or the size of their letters does not part them; tables
    stay what they are."""
    parts: list[str | RuledTable] = []
    running = list[Line]()
    for line in lines:
        if line.table is None:
            running.append(line)
            continue
        parts += [*_paragraphs(running), line.table]
        running = []
    return [*parts, *_paragraphs(running)]


def _paragraphs(lines: Sequence[Line]) -> list[str]:
    steps = [a.bottom - b.bottom for a, b in pairwise(lines) if a.zone == b.zone and a.bottom > b.bottom]
    usual = median(steps) if steps else 0.0
    paragraphs: list[list[str]] = []
    for before, line in zip([None, *lines], lines, strict=False):
        if before is not None and _belongs(before, line, usual):
            paragraphs[-1].append(line.text)
        else:
            paragraphs.append([line.text])
    return ["\n".join(paragraph) for paragraph in paragraphs]


def runs_on(before: str, after: str) -> bool:
    """Whether a text goes on after the end of a column or page: no full stop before, no capital after."""
    return not re.search(r"[.!?:;…。！？][\"'”’)\]]*\Z", before) and after[:1].isalpha() and not after[:1].isupper()


def _belongs(before: Line, line: Line, usual: float) -> bool:
    if before.zone != line.zone:
        return runs_on(before.text, line.text)
    smaller, larger = sorted((before.height, line.height))
    return before.bottom - line.bottom <= 1.4 * usual + 1 and larger <= 1.2 * smaller


# Letters to pieces of lines


def _letters(text: str) -> str:
    """PDFium's marks for a hyphen at the end of a line back to hyphens."""
    return clean(text.replace("\x02", "-\n").replace("\ufffe", "-\n"))


def _is_turned(text: pdfium.PdfTextPage) -> bool:
    count = text.count_chars()
    some = range(0, count, max(1, count // 50))
    turned = sum(abs(pdfium_c.FPDFText_GetCharAngle(text, index)) > 0.1 for index in some)
    return turned > 0.2 * len(some)


_Placed = tuple[str, float, float, float, float]
"""A letter with its left, lower, right and upper edge."""


def _fragments(text: pdfium.PdfTextPage, sight: _Sight, grids: Sequence[RuledGrid]) -> list[Line]:
    """Pieces of lines as the file draws them, cut where the pen jumps or goes over a line between cells."""
    pieces: list[list[_Placed]] = []
    cut = True
    for placed in _placed(text, sight):
        if placed is None:
            cut = True
            continue
        if cut or _jumps(pieces[-1][-1], placed) or any(_leaves_cell(pieces[-1][-1], placed, grid) for grid in grids):
            pieces.append([])
        pieces[-1].append(placed)
        cut = False
    return [_piece(letters) for letters in pieces]


def _leaves_cell(before: _Placed, placed: _Placed, grid: RuledGrid) -> bool:
    return not placed[0].isspace() and grid.cell(*_middle(before)) != grid.cell(*_middle(placed))


def _middle(placed: _Placed) -> tuple[float, float]:
    return (placed[1] + placed[3]) / 2, (placed[2] + placed[4]) / 2


def _with_tables(fragments: list[Line], grids: Sequence[RuledGrid]) -> list[Line]:
    """Pieces of lines, with one for each table in place of its cells."""
    for grid in grids:
        inside = [f for f in fragments if grid.cell((f.left + f.right) / 2, f.middle)]
        table = read_grid(grid, ([(f.text, (f.left + f.right) / 2, f.middle) for f in row] for row in _rows(inside)))
        if table:
            words = "\n".join(cell.text for row in table.rows for cell in row if cell.text)
            fragments = [*(f for f in fragments if f not in inside), Line(words, *grid.box, table=table)]
    return fragments


def _placed(text: pdfium.PdfTextPage, sight: _Sight) -> Iterator[_Placed | None]:
    """The letters that are seen, with None where a line ends; a space is written behind the letter before it."""
    box = pdfium_c.FS_RECTF()
    before: _Placed | None = None
    for index in range(min(text.count_chars(), _MOST_LETTERS)):
        letter = _letter(pdfium_c.FPDFText_GetUnicode(text, index))
        if letter in ("\r", "\n"):
            before = None
            yield None
        elif letter.isspace():
            if before is not None:
                yield (" ", *before[1:])
        elif letter and pdfium_c.FPDFText_GetLooseCharBox(text, index, ctypes.byref(box)) and _is_finite(box):
            placed = letter, box.left, min(box.bottom, box.top), box.right, max(box.bottom, box.top)
            if sight.sees(index, placed):
                before = placed
                yield before


class _Sight:
    """Tells the letters that a reader of the page sees from those that lie outside it or have no colour."""

    def __init__(self, page: pdfium.PdfPage, text: pdfium.PdfTextPage) -> None:
        self._page, self._text = page, text
        self._left, self._bottom, self._right, self._top = page.get_bbox()
        some = range(0, text.count_chars(), max(1, text.count_chars() // 100))
        self._all_unpainted = all(map(self._is_unpainted, some))
        """The words of a scan, written under its picture so that they can be searched."""
        self._grounds: list[tuple[float, float, float, float]] | None = None

    def sees(self, index: int, letter: _Placed) -> bool:
        _, left, bottom, right, top = letter
        across, up = (left + right) / 2, (bottom + top) / 2
        if not (self._left <= across <= self._right and self._bottom <= up <= self._top) or top - bottom < _SMALLEST:
            return False
        if not self._all_unpainted and self._is_unpainted(index):
            return False
        return not self._is_white(index) or any(
            ground[0] <= across <= ground[2] and ground[1] <= up <= ground[3] for ground in self._dark_grounds()
        )

    def _is_unpainted(self, index: int) -> bool:
        drawn = pdfium_c.FPDFText_GetTextObject(self._text, index)
        return bool(drawn) and pdfium_c.FPDFTextObj_GetTextRenderMode(drawn) == pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE

    def _is_white(self, index: int) -> bool:
        colour = _colour(pdfium_c.FPDFText_GetFillColor, self._text, index)
        return colour is not None and (min(colour[:3]) >= _WHITE or colour[3] == 0)

    def _dark_grounds(self) -> list[tuple[float, float, float, float]]:
        """Left, lower, right and upper edges of pictures and coloured shapes, on which white letters are read."""
        if self._grounds is None:
            kinds = [pdfium_c.FPDF_PAGEOBJ_PATH, pdfium_c.FPDF_PAGEOBJ_IMAGE, pdfium_c.FPDF_PAGEOBJ_SHADING]
            shapes = islice(self._page.get_objects(kinds, max_depth=4), _MOST_SHAPES)
            self._grounds = [shape.get_bounds() for shape in shapes if not _is_white_shape(shape)]
        return self._grounds


def _is_white_shape(shape: pdfium.PdfObject) -> bool:
    colour = (
        _colour(pdfium_c.FPDFPageObj_GetFillColor, shape)
        if pdfium_c.FPDFPageObj_GetType(shape) == pdfium_c.FPDF_PAGEOBJ_PATH
        else None
    )
    return colour is not None and (min(colour[:3]) >= _WHITE or colour[3] == 0)


def _colour(ask: Callable[..., int], *of: Any) -> tuple[int, int, int, int] | None:
    """Red, green, blue and opacity, 0 to 255."""
    parts = [ctypes.c_uint() for _ in range(4)]
    if not ask(*of, *map(ctypes.byref, parts)):
        return None
    red, green, blue, opacity = (part.value for part in parts)
    return red, green, blue, opacity


def _piece(letters: Sequence[_Placed]) -> Line:
    words = "".join(letter[0] for letter in letters).strip()
    words = words[:-1] + "-" if words.endswith("\u00ad") else words
    _, left, bottom, right, top = zip(*letters, strict=True)
    return Line(clean(words), min(left), min(bottom), max(right), max(top))


def _is_finite(box: pdfium_c.FS_RECTF) -> bool:
    return all(abs(value) < 1e6 for value in (box.left, box.bottom, box.right, box.top))


def _letter(code: int) -> str:
    return "-" if code in (0x2, 0xFFFE) else chr(code) if 0 < code <= 0x10FFFF else ""


def _jumps(before: _Placed, after: _Placed) -> bool:
    height = max(before[4] - before[2], after[4] - after[2], 1.0)
    rise = abs((before[2] + before[4]) - (after[2] + after[4])) / 2
    return rise > 0.5 * height or not -height < after[1] - before[3] < 0.8 * height


def _rows(fragments: Iterable[Line]) -> list[list[Line]]:
    """Pieces that stand on one line, from left to right; lines from top to bottom."""
    rows: list[list[Line]] = []
    for piece in sorted(fragments, key=lambda f: (-f.middle, f.left)):
        if (
            rows
            and not piece.table
            and not rows[-1][0].table
            and abs(rows[-1][0].middle - piece.middle) < 0.4 * max(rows[-1][0].height, piece.height)
        ):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [sorted(row, key=lambda f: f.left) for row in rows]


# Columns


def _zones(fragments: list[Line], depth: int = 0) -> list[list[Line]]:
    """Parts of a page in reading order. What stands across two columns parts what is above from what is below."""
    gutter = _gutter(fragments) if depth < 3 else None
    if gutter is None:
        return [fragments] if fragments else []
    zones: list[list[Line]] = []
    left: list[Line] = []
    right: list[Line] = []
    across: list[Line] = []
    for piece in sorted(fragments, key=lambda f: -f.middle):
        if piece.left < gutter < piece.right:
            zones += [*_zones(left, depth + 1), *_zones(right, depth + 1)]
            left, right = [], []
            across.append(piece)
            continue
        if across:
            zones.append(across)
            across = []
        (left if piece.right <= gutter else right).append(piece)
    return [*zones, *_zones(left, depth + 1), *_zones(right, depth + 1), *([across] if across else [])]


def _gutter(fragments: Sequence[Line]) -> float | None:
    """Where two columns of running text part; None in tables and on pages with one column."""
    place = _emptiest(fragments) if len(fragments) >= 6 else None
    if place is None:
        return None
    left = [f for f in fragments if f.right <= place]
    right = [f for f in fragments if f.left >= place]
    return place if _is_running_text(left) and _is_running_text(right) else None


def _emptiest(fragments: Sequence[Line]) -> float | None:
    """The middle of the widest strip that hardly a line crosses, away from the margins."""
    start, end = min(f.left for f in fragments), max(f.right for f in fragments)
    width = max(_STRIP, (end - start) / _MOST_STRIPS)
    strips = int((end - start) / width)
    crossed = [0] * (strips + 2)
    for piece in fragments:
        for strip in range(int((piece.left - start) / width), int((piece.right - start) / width) + 1):
            crossed[strip] += 1
    inside = range(int(0.15 * strips), int(0.85 * strips))
    least = min((crossed[strip] for strip in inside), default=len(fragments))
    if least > 0.15 * len(fragments):
        return None
    middle = _middle_of_longest([strip for strip in inside if crossed[strip] == least])
    return start + (middle + 0.5) * width


def _middle_of_longest(strips: Sequence[int]) -> float:
    """Middle of the longest run of neighbours."""
    best = run = [strips[0]]
    for before, strip in pairwise(strips):
        run = [*run, strip] if strip == before + 1 else [strip]
        best = max(best, run, key=len)
    return (best[0] + best[-1]) / 2


def _is_running_text(fragments: Sequence[Line]) -> bool:
    """Lines that go on from one to the next, which cells of a table do not."""
    lines = [" ".join(piece.text for piece in row) for row in _rows(fragments)]
    going_on = sum(line[0].isalpha() and not line[0].isupper() for line in lines if line)
    return len(lines) >= 3 and median(map(len, lines)) >= 15 and going_on >= 0.4 * len(lines)


# Running heads, feet and page numbers


def without_furniture(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """The pages without page numbers, and with running heads and feet only where they stand first, above the text."""
    numbers = _page_numbers(pages)
    pages = [[line for line in page if (index, line) not in numbers] for index, page in enumerate(pages)]
    repeated = _repeated(pages)
    seen: set[tuple[str, int]] = set()
    kept = []
    for page in pages:
        furniture = {line: _template(line) for line in _edges(page) if _template(line) in repeated}
        first = [line.text for line, key in furniture.items() if key not in seen and _says_more_than_its_page(line)]
        seen.update(furniture.values())
        above = [Line(words, *(0.0, 0.0, 0.0, 0.0), -1 - number) for number, words in enumerate(first)]
        kept.append([*above, *(line for line in page if line not in furniture)])
    return kept


def _repeated(pages: Sequence[Sequence[Line]]) -> set[tuple[str, int]]:
    """What stands in the margins of several pages, at the same place."""
    often = Counter(key for page in pages for key in set(map(_template, _edges(page))))
    needed = 2 if len(pages) <= 4 else 3
    return {key for key, count in often.items() if count >= needed}


def _says_more_than_its_page(line: Line) -> bool:
    return bool(_PAGE_WORDS.sub("", line.text))


def _edges(page: Sequence[Line]) -> list[Line]:
    """Lines in the upper and lower margin."""
    return [line for line in page if not _MARGIN < line.place < 1 - _MARGIN]


def _template(line: Line) -> tuple[str, int]:
    """What is the same in the heads of all pages: the text without its numbers, and the place."""
    return re.sub(r"\d+", "#", line.text), round(line.place * 100)


def _page_numbers(pages: Sequence[Sequence[Line]]) -> set[tuple[int, Line]]:
    """Page index and line of the numbers in the margins that count the pages; other numbers there are content."""
    offsets: dict[tuple[int, Line], int] = {}
    roman: set[tuple[int, Line]] = set()
    for index, page in enumerate(pages):
        for line in _edges(page):
            found = _PAGE_NUMBER.fullmatch(line.text)
            if found:
                offsets[index, line] = int(found["number"]) - index
            elif _ROMAN.fullmatch(line.text):
                roman.add((index, line))
    often = Counter(offsets.values())
    counting = {key for key, offset in offsets.items() if often[offset] > 1 or (offset == 1 and len(pages) > 1)}
    return counting | (roman if len(roman) > 1 else set())
