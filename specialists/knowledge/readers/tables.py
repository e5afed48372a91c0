"""Tables with spanned cells, headers of several levels and tables in cells: every value comes out under its names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..documents import Outline

_MOST_COLUMNS = 1_000


@dataclass(frozen=True, eq=False)
class TableCell:
    """A cell as the file holds it. Compared by identity: a spanned cell is one cell in several places."""

    text: str
    head: bool = False
    """Marked as a name, not a value."""
    columns: int = 1
    rows: int = 1
    """How far it spans."""
    tables: tuple[list[list[TableCell]], ...] = field(default=())
    """Tables inside the cell, as their rows."""


Grid = list[list[TableCell]]
"""Rows of equal places: a spanned cell stands in each place that it covers."""

Context = tuple[list[str], list[str]]
"""Names and values of the outer row, which rows of an inner table repeat."""


def add_table(outline: Outline, rows: Sequence[Sequence[TableCell]], caption: str = "") -> None:
    """A table into the outline, each row with the names of its columns; the caption is a title of all its passages."""
    if caption.strip():
        outline.paragraph(caption, label=" ".join(caption.split()))
    _Table(outline, " ".join(caption.split())).add(list(map(list, rows)), ([], []))


def headed(rows: Sequence[Sequence[TableCell]], before: Sequence[Sequence[TableCell]]) -> list[list[TableCell]]:
    """Rows of a table that goes on on the next page, with the header that its part `before` has."""
    header = before[: _header_rows(_grid(before))]
    texts, own = ([[cell.text for cell in row] for row in some] for some in (header, rows[: len(header)]))
    left = rows[len(header) :] if texts == own else rows
    return [*([replace(cell, head=True) for cell in row] for row in header), *map(list, left)]


@dataclass(frozen=True)
class _Table:
    outline: Outline
    label: str

    def add(self, rows: Sequence[Sequence[TableCell]], context: Context) -> None:
        grid = [row for row in _grid(rows) if any(cell.text or cell.tables for cell in row)]
        if not grid:
            return
        heads = _header_rows(grid)
        if heads == 0 and _is_key_value(grid):
            for row in grid:
                self._pairs(_distinct(row), context)
            return
        columns = [_names(grid[:heads], place) for place in range(max(map(len, grid)))]
        for row in grid[heads:] if heads < len(grid) else grid:
            self._row(row, columns if heads < len(grid) else [""] * len(columns), context)

    def _pairs(self, cells: Sequence[TableCell], context: Context) -> None:
        """A row of names, each before its value."""
        names = [cell.text for cell in cells if cell.head] or [cells[0].text]
        values = [cell.text for cell in cells if not cell.head]
        values = values if any(cell.head for cell in cells) else values[1:]
        names = [name.rstrip(" :") for name in names]
        self._write(names if values else [], values or names, context)
        self._inner(cells, (context[0] + names[:1], context[1] + values[:1]))

    def _row(self, row: Sequence[TableCell], columns: Sequence[str], context: Context) -> None:
        cells = _distinct(row)
        names = []
        for cell in cells:
            covered = dict.fromkeys(columns[place] for place, other in enumerate(row) if other is cell)
            names.append(" / ".join(filter(None, covered)) if len(covered) < len(columns) or len(row) == 1 else "")
        first = next((n for n, cell in enumerate(cells) if cell.text), None)
        outer = ([names[first]], [cells[first].text]) if first is not None else ([], [])
        if sum(bool(cell.text) for cell in cells) > 1 or not any(cell.tables for cell in cells):
            self._write(names, [cell.text for cell in cells], context)
        self._inner(cells, (context[0] + outer[0], context[1] + outer[1]))

    def _write(self, names: Sequence[str], values: Sequence[str], context: Context) -> None:
        if any(map(str.strip, values)):
            self.outline.row([*context[0], *names], [*context[1], *values], label=self.label)

    def _inner(self, cells: Sequence[TableCell], context: Context) -> None:
        for cell in cells:
            for table in cell.tables:
                self.add(table, context)


def _grid(rows: Sequence[Sequence[TableCell]]) -> Grid:
    """Cells where they stand, with what spans from above."""
    grid: Grid = []
    spanning: dict[int, tuple[TableCell, int]] = {}
    for row in rows:
        line: list[TableCell] = []
        waiting = list(reversed(row))
        while waiting or len(line) in spanning:
            if len(line) in spanning:
                cell, left = spanning.pop(len(line))
                if left > 1:
                    spanning[len(line)] = cell, left - 1
                line.append(cell)
                continue
            cell = waiting.pop()
            for _ in range(min(max(1, cell.columns), _MOST_COLUMNS - len(line))):
                if cell.rows > 1:
                    spanning[len(line)] = cell, cell.rows - 1
                line.append(cell)
            if len(line) >= _MOST_COLUMNS:
                break
        grid.append(line)
    return grid


def _distinct(row: Sequence[TableCell]) -> list[TableCell]:
    return list(dict.fromkeys(row))


def _header_rows(grid: Grid) -> int:
    """How many rows hold the names of the columns."""
    marked = 0
    while marked < len(grid) and all(cell.head or not cell.text for cell in grid[marked]):
        marked += 1
    if marked or len(grid) == 1:
        return marked
    if all(row[0].head for row in grid) or _is_key_value(grid):
        return 0
    spanned = len(_distinct(grid[0])) < len(grid[0]) and len(_distinct(grid[0])) > 1
    return 2 if spanned and len(grid) > 2 else 1


def _names(header: Grid, place: int) -> str:
    """The name of a column: of all levels, from above."""
    cells = dict.fromkeys(row[place] for row in header if place < len(row))
    return " ".join(dict.fromkeys(cell.text for cell in cells if cell.text))


def _is_key_value(grid: Grid) -> bool:
    """Names on the left and their values on the right, told by marks, colons or by values where a header would be."""
    if any(cell.head for row in grid for cell in row):
        return all(row[0].head for row in grid)
    if len(grid) < 2 or any(len(row) != 2 or row[0] is row[1] for row in grid):
        return False
    keys, values = [row[0].text for row in grid], [row[1].text for row in grid]
    return all(key.endswith(":") for key in keys) or _are_names_and_values(keys, values)


def _are_names_and_values(keys: Sequence[str], values: Sequence[str]) -> bool:
    """Different names without numbers; values with numbers already in the first row, or in some rows only."""
    if len(set(keys)) < len(keys) or any(map(_has_digit, keys)):
        return False
    numbers = sum(map(_has_digit, values))
    return _has_digit(values[0]) or 0 < numbers < len(values) - 1


def _has_digit(text: str) -> bool:
    return bool(re.search(r"\d", text))
