"""CSV files as tables of a SQLite database in memory: numbers become numbers and dates ISO dates."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..core.cells import Dates, Numbers, dates, numbers, proved_decimal
from ..core.csv_table import CsvTable, decode_text, parse_csv
from ..core.errors import ToolError

SUFFIXES = (".csv", ".tsv")


def find_csv(folder: Path) -> dict[str, Path]:
    """The CSV files in a folder and the folders in it: name of the table to file.

    A table is named as its file. Where two files have one name, those in subfolders are named with the folder
    (`north_sales`), and others get a number (`sales_2`).
    """
    inside = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    files = [path for path in sorted(inside) if not _hidden(path.relative_to(folder))]
    often = Counter(table_name(path).lower() for path in files)
    named: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: len(path.parts)):
        places = path.relative_to(folder).parent.parts
        shared = places and often[table_name(path).lower()] > 1
        name = "_".join([*map(identifier, places), table_name(path)]) if shared else table_name(path)
        named[_free(name, named)] = path
    return named


def table_name(path: Path) -> str:
    """A file's name as that of a table; `sqlite_…` is SQLite's own."""
    name = identifier(path.stem) or "table"
    return f"table_{name}" if name.lower().startswith("sqlite_") else name


def identifier(name: str) -> str:
    """Letters, digits and `_` of a name."""
    return re.sub(r"\W+", "_", name.strip()).strip("_")


def load_csv(connection: sqlite3.Connection, files: Mapping[str, Path]) -> None:
    """One table for each file, named as given.

    Raises:
        ToolError: a file cannot be read as a table.
    """
    for name, path in files.items():
        try:
            table = parse_csv(decode_text(path.read_bytes()), "\t" if path.suffix.lower() == ".tsv" else "")
        except (OSError, ValueError) as error:
            raise ToolError(f"cannot read {path.name} as a CSV table: {error}") from None
        columns = _column_names(table.columns or [""] * max(map(len, table.rows), default=0))
        if not columns:
            raise ToolError(f"cannot read {path.name} as a CSV table: there is nothing in it")
        kinds, values = zip(*_typed(table, len(columns)), strict=True)
        definition = ", ".join(f'"{column}" {kind}' for column, kind in zip(columns, kinds, strict=True))
        connection.execute(f'CREATE TABLE "{name}" ({definition})')
        marks = ", ".join("?" * len(columns))
        connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', zip(*values, strict=True))
        connection.commit()


def _typed(table: CsvTable, width: int) -> Iterator[tuple[str, Sequence[object]]]:
    """SQLite type and values of each column. What a column leaves open, the other columns of the file tell."""
    cells = [[row[place] if place < len(row) else "" for row in table.rows] for place in range(width)]
    proved = {mark for column in cells if (mark := proved_decimal(column))}
    decimal = proved.pop() if len(proved) == 1 else "," if table.separator == ";" else ""
    orders = {found.day_first for column in cells if (found := dates(column))} - {None}
    day_first = orders.pop() if len(orders) == 1 else True if decimal == "," else None
    for column in cells:
        found = numbers(column, decimal) or dates(column, day_first=day_first)
        match found:
            case Numbers():
                yield "INTEGER" if found.whole else "REAL", [found.read(cell) for cell in column]
            case Dates():
                yield "DATE", [found.read(cell) for cell in column]
            case None:
                yield "TEXT", [cell or None for cell in column]


def _column_names(header: Sequence[str]) -> list[str]:
    """Plain names; empty ones are numbered, repeated ones (SQLite ignores case) get their position."""
    columns: list[str] = []
    for place, name in enumerate(header, 1):
        plain = identifier(name) or f"column_{place}"
        taken = plain.lower() in (column.lower() for column in columns)
        columns.append(_free(f"{plain}_{place}" if taken else plain, columns))
    return columns


def _free(name: str, taken: Mapping[str, object] | Sequence[str]) -> str:
    """The name, with a number where another one is the same but for case."""
    known = {other.lower() for other in taken}
    names = (name if number == 1 else f"{name}_{number}" for number in range(1, len(known) + 2))
    return next(one for one in names if one.lower() not in known)


def _hidden(path: Path) -> bool:
    """Files of the system and open documents: `.DS_Store`, `._a.csv`, `~$a.csv`."""
    return any(part.startswith((".", "~$")) for part in path.parts)
