"""Questions about rows of tables, made from public CSV files: whoever has only read prose loses its place in rows."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from .quote_data import Question

TABLES = ("route_assetops", "team_workbench")
"""Back-ends of the public sets whose tables may be redistributed."""
PER_TABLE = 24
ROWS = 9
"""Rows that are drawn for one question: one is asked about, some stand beside it, the others distract."""
LONGEST = 60
"""Characters of a cell; longer ones are prose."""

_FORWARD = (
    "What is the {column} of {key}?",
    "Which {column} does {key} have?",
    "What {column} is given for {key}?",
    "For {key}, what is the {column}?",
    "{column} of {key}?",
    "{key}: {column}?",
)
_BACKWARD = ("Which {key_column} has the {column} {value}?", "What is the {key_column} with {column} {value}?")

Table = list[dict[str, str]]


def tables(folder: Path, sets: Sequence[str] = TABLES) -> Iterator[Question]:
    """Questions on cells: the column of a row, or the row of a cell. Split by table."""
    for name in sets:
        for file in sorted((folder / "backends" / name).glob("*.csv")):
            table, dice = _read(file), random.Random(file.name)
            if len(table) >= ROWS:
                made = (_question(f"{name}/{file.stem}", table, dice) for _ in range(PER_TABLE))
                yield from (question for question in made if question)


def _read(file: Path) -> Table:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        {column.replace("_", " "): value for column, value in row.items() if column and 0 < len(value or "") <= LONGEST}
        for row in rows
    ]


def _question(group: str, table: Table, dice: random.Random) -> Question | None:
    """None when the rows drawn do not make a question with one answer."""
    rows = dice.sample(table, ROWS)
    columns = sorted(rows[0])
    keys = [c for c in columns if len({row.get(c) for row in rows}) == ROWS and "0." not in rows[0][c]]
    if not keys or len(columns) < 2:
        return None
    key = dice.choice(keys)
    column = dice.choice([c for c in columns if c != key])
    shown = {key, column, *dice.sample(columns, min(len(columns), dice.randint(1, 4)))}
    asked, value = rows[0], rows[0][column]
    back = dice.random() < 0.3 and sum(row.get(column) == value for row in rows) == 1
    form = dice.choice(_BACKWARD if back else _FORWARD)
    task = form.format(key_column=key, key=asked[key], column=column, value=value)
    lines = ["; ".join(f"{c}: {v}" for c, v in row.items() if c in shown) for row in rows]
    beside = dice.randint(0, 2)
    passage = lines[: 1 + beside]
    dice.shuffle(passage)
    rest = lines[1 + beside :]
    distractors = tuple("\n".join(rest[n : n + 2]) for n in range(0, len(rest), 2))
    return Question("tables", group, task, asked[key] if back else value, "\n".join(passage), distractors)
