"""Tables that a PDF page draws with lines: their cells, told by the lines around them.

Lengths are points, with the origin at the lower left of the page. A page says nothing about tables: there are lines and
letters. A grid of lines is a table when the words on it keep inside its places and most places hold some; a chart or
a drawing is none.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from typing import NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from .tables import TableCell

_THIN = 3.0
"""A filled shape that is thinner than this is a line."""
_NEAR = 3.0
"""Lines that are as near as this meet."""
_SHORT = 5.0
"""Lines below this are parts of letters, ticks and dashes."""
_MOST_PATHS = 5_000
_MOST_CORNERS = 30_000
"""Of all paths of a page; a drawing or a map may have more, and is no table."""
_MOST_LINES = 600
_MOST_PLACES = 5_000
_LONGEST_CELL = 1_500
"""Letters of a cell; frames that part a page hold more."""

_Box = tuple[float, float, float, float]
"""Left, lower, right and upper edge."""

_Place = tuple[int, int]
"""Row and column of a grid, from 0."""


class _Rule(NamedTuple):
    """A line along one axis: where it stands on the other axis, and from where to where it goes."""

    at: float
    start: float
    end: float


@dataclass(frozen=True)
class RuledTable:
    """A table of a page, its cells in rows; a cell that spans stands where it begins."""

    edges: tuple[float, ...]
    """Of its columns, from the left."""
    rows: tuple[tuple[TableCell, ...], ...]

    def goes_on_in(self, other: RuledTable) -> bool:
        """Whether another has the same columns, as the rest of a table on the next page has."""
        pairs = zip(self.edges, other.edges, strict=False)
        return len(self.edges) == len(other.edges) and all(abs(a - b) <= _NEAR for a, b in pairs)


class RuledGrid:
    """Places between lines."""

    def __init__(self, across: Sequence[_Rule], upright: Sequence[_Rule]) -> None:
        left, right = min(r.start for r in across), max(r.end for r in across)
        bottom, top = min(r.start for r in upright), max(r.end for r in upright)
        self.xs = _levels([left, right, *(rule.at for rule in upright)])
        self.ys = _levels([bottom, top, *(rule.at for rule in across)])[::-1]
        """From above."""
        self.box: _Box = self.xs[0], self.ys[-1], self.xs[-1], self.ys[0]
        self._from_below = self.ys[::-1]
        self._across, self._upright = across, upright
        self.begins = self._begins()
        """Each place of the grid → the one in which its cell begins."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.ys) - 1, len(self.xs) - 1

    def cell(self, x: float, y: float) -> _Place | None:
        """Where the cell begins in which a point lies; None outside the grid."""
        place = self.size[0] - bisect_right(self._from_below, y), bisect_right(self.xs, x) - 1
        return self.begins.get(place)

    def open_cells(self) -> set[_Place]:
        """Cells at the left or right without a line there, while others have one: a corner that is left out, or words
        beside a table below something wider."""
        rows, columns = self.size
        found = set[_Place]()
        for side, column in ((self.xs[0], 0), (self.xs[-1], columns - 1)):
            lines = [self._parted(self._upright, side, self.ys, row) for row in range(rows)]
            found |= {self.begins[row, column] for row in range(rows) if any(lines) and not lines[row]}
        return found

    def spans(self) -> dict[_Place, tuple[int, int]]:
        """Each cell → how many rows and columns it covers."""
        covered: dict[_Place, list[_Place]] = {}
        for place, begin in self.begins.items():
            covered.setdefault(begin, []).append(place)
        return {begin: (len({row for row, _ in some}), len({on for _, on in some})) for begin, some in covered.items()}

    def _begins(self) -> dict[_Place, _Place]:
        """Cells reach as far as no line parts them."""
        begins: dict[_Place, _Place] = {}
        rows, columns = self.size
        for row, column in product(range(rows), range(columns)):
            if (row, column) in begins:
                continue
            wide = high = 1
            while column + wide < columns and not self._parted(self._upright, self.xs[column + wide], self.ys, row):
                wide += 1
            while row + high < rows and not self._parted(self._across, self.ys[row + high], self.xs, column):
                high += 1
            for down, on in product(range(high), range(wide)):
                begins.setdefault((row + down, column + on), (row, column))
        return begins

    def _parted(self, rules: Sequence[_Rule], at: float, edges: Sequence[float], place: int) -> bool:
        """Whether one of the lines stands there, beside the place between two edges."""
        middle = (edges[place] + edges[place + 1]) / 2
        return any(abs(rule.at - at) <= _NEAR and rule.start <= middle <= rule.end for rule in rules)


def grids_of(page: pdfium.PdfPage) -> list[RuledGrid]:
    """Grids of lines on a page with at least two rows and two columns, the larger ones without those inside them."""
    paths = list(islice(page.get_objects([pdfium_c.FPDF_PAGEOBJ_PATH], max_depth=1), _MOST_PATHS))
    if sum(pdfium_c.FPDFPath_CountSegments(path.raw) for path in paths) > _MOST_CORNERS:
        return []
    across, upright = list[_Rule](), list[_Rule]()
    for x, y, to_x, to_y in (stroke for path in paths for stroke in _strokes(path)):
        if abs(to_y - y) <= 1 and abs(to_x - x) >= _SHORT:
            across.append(_Rule((y + to_y) / 2, min(x, to_x), max(x, to_x)))
        elif abs(to_x - x) <= 1 and abs(to_y - y) >= _SHORT:
            upright.append(_Rule((x + to_x) / 2, min(y, to_y), max(y, to_y)))
    across, upright = _whole(across), _whole(upright)
    if len(across) + len(upright) > _MOST_LINES:
        return []
    grids = [RuledGrid(*lines) for lines in _connected(across, upright) if all(lines)]
    grids = [grid for grid in grids if min(grid.size) >= 2 and grid.size[0] * grid.size[1] <= _MOST_PLACES]
    return [grid for grid in grids if not any(_inside(grid.box, other.box) for other in grids if other is not grid)]


def read_grid(grid: RuledGrid, lines: Iterable[Sequence[tuple[str, float, float]]]) -> RuledTable | None:
    """The table that a grid and the words on it are; None where it is none.

    Args:
        grid: What is drawn.
        lines: From above: the pieces of each line from the left, each with the point that tells its cell.
    """
    spans, outside = grid.spans(), grid.open_cells()
    texts: dict[_Place, list[str]] = {place: [] for place in spans}
    for line in lines:
        words: dict[_Place, list[str]] = {}
        for text, x, y in line:
            if place := grid.cell(x, y):
                words.setdefault(place, []).append(text)
        for place, some in words.items():
            if place in outside:
                return None
            texts[place].append(" ".join(some))
    cells = {place: "\n".join(some) for place, some in texts.items()}
    full = [place for place, text in cells.items() if text]
    if len({row for row, _ in full}) < 2 or len({column for _, column in full}) < 2:
        return None
    if 2 * len(full) < len(cells) or max(map(len, cells.values())) > _LONGEST_CELL:
        return None
    rows: list[list[TableCell]] = [[] for _ in range(grid.size[0])]
    for place, text in sorted(cells.items()):
        high, wide = spans[place]
        rows[place[0]].append(TableCell(text, rows=high, columns=wide))
    return RuledTable(tuple(grid.xs), tuple(map(tuple, rows)))


def _inside(box: _Box, other: _Box) -> bool:
    return box[0] >= other[0] and box[1] >= other[1] and box[2] <= other[2] and box[3] <= other[3]


# Paths to lines.


def _strokes(path: pdfium.PdfObject) -> Iterator[_Box]:
    """The straight lines of a path, on the page: from where to where."""
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    pdfium_c.FPDFPath_GetDrawMode(path.raw, fill, stroke)
    for outline in _outlines(path):
        if stroke.value:
            yield from ((*one, *other) for one, other in pairwise(outline))
        elif fill.value:
            xs, ys = zip(*outline, strict=True)
            left, right, bottom, top = min(xs), max(xs), min(ys), max(ys)
            if top - bottom <= _THIN:
                yield left, (bottom + top) / 2, right, (bottom + top) / 2
            elif right - left <= _THIN:
                yield (left + right) / 2, bottom, (left + right) / 2, top


def _outlines(path: pdfium.PdfObject) -> Iterator[list[tuple[float, float]]]:
    """The corners of each part of a path; parts with bends are left out."""
    matrix, x, y = path.get_matrix(), ctypes.c_float(), ctypes.c_float()
    corners, bent = list[tuple[float, float]](), False
    for number in range(pdfium_c.FPDFPath_CountSegments(path.raw)):
        segment = pdfium_c.FPDFPath_GetPathSegment(path.raw, number)
        kind = pdfium_c.FPDFPathSegment_GetType(segment)
        pdfium_c.FPDFPathSegment_GetPoint(segment, x, y)
        if kind == pdfium_c.FPDF_SEGMENT_MOVETO:
            if len(corners) > 1 and not bent:
                yield corners
            corners, bent = [], False
        corners.append(matrix.on_point(x.value, y.value))
        bent = bent or kind == pdfium_c.FPDF_SEGMENT_BEZIERTO
        if pdfium_c.FPDFPathSegment_GetClose(segment):
            corners.append(corners[0])
    if len(corners) > 1 and not bent:
        yield corners


def _whole(rules: Iterable[_Rule]) -> list[_Rule]:
    """Pieces of one line put together."""
    whole = list[_Rule]()
    for group in _grouped(sorted(rules)):
        for rule in sorted(group, key=lambda r: r.start):
            before = whole[-1] if whole else None
            if before and abs(before.at - rule.at) <= _NEAR and rule.start <= before.end + _NEAR:
                whole[-1] = before._replace(end=max(before.end, rule.end))
            else:
                whole.append(rule)
    return whole


def _grouped(rules: Sequence[_Rule]) -> Iterator[list[_Rule]]:
    """Rules that stand at one level, in the order of the levels."""
    group = list[_Rule]()
    for rule in rules:
        if group and rule.at - group[0].at > _NEAR:
            yield group
            group = []
        group.append(rule)
    if group:
        yield group


def _levels(values: Iterable[float]) -> list[float]:
    """Different values, from the lowest."""
    levels = list[float]()
    for value in sorted(values):
        if not levels or value - levels[-1] > _NEAR:
            levels.append(value)
    return levels


def _connected(across: Sequence[_Rule], upright: Sequence[_Rule]) -> Iterator[tuple[list[_Rule], list[_Rule]]]:
    """Lines that meet, directly or over others."""
    left = [*((rule, False) for rule in across), *((rule, True) for rule in upright)]
    while left:
        waiting, found = [left.pop()], list[tuple[_Rule, bool]]()
        while waiting:
            rule, stands = waiting.pop()
            found.append((rule, stands))
            meeting = [other for other in left if other[1] != stands and _meet(rule, other[0])]
            left = [other for other in left if other not in meeting]
            waiting += meeting
        yield [rule for rule, stands in found if not stands], [rule for rule, stands in found if stands]


def _meet(one: _Rule, other: _Rule) -> bool:
    return one.start - _NEAR <= other.at <= one.end + _NEAR and other.start - _NEAR <= one.at <= other.end + _NEAR
