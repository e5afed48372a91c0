"""What of a database a question is about: the tables and columns that the model is shown, and values that it names.

Schema linking (RAT-SQL: Wang et al., ACL 2020) by words: names that share a stem with the question, and texts of the
question that stand in the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..support import stem
from .catalogue import Catalogue, Column, quoted

SHOWN_COLUMNS = 32
"""So many columns are shown in all: a small model reads about 200 tokens a second."""

TABLE_COLUMNS = 9
"""Of one table at most so many, the best."""

FEW_VALUES = 4
"""A text column with so few values is shown with them."""

KNOWN_COLUMNS = 3
"""Columns that are told for one value."""

LONGEST_NAMED = 6
"""Words of the longest run that is looked up as a value."""

SAID_OTHERWISE = 12
"""Characters of a value that is worth showing as a sample."""


@dataclass(frozen=True)
class Linked:
    """What the model is shown, and the names that its grammar may use."""

    schema: str
    """One table a line; the same for every question while the whole database fits."""
    columns: tuple[Column, ...]


def link(question: str, catalogue: Catalogue) -> Linked:
    """The part of a database that a question is about."""
    asked = {stem(word) for word in re.findall(r"[a-z0-9]+", question.lower())}
    held = {column.path for _, column in _named_values(question, catalogue)}
    scores = {c.path: _shared(c.name, asked) + (1.5 if c.path in held else 0.0) for c in catalogue.columns}
    shown = _columns(catalogue, scores, asked)
    columns = tuple(c for columns in shown.values() for c in columns)
    return Linked("\n".join(_line(t, c) for t, c in shown.items()), columns)


def known(question: str, catalogue: Catalogue, shown: Sequence[Column]) -> list[str]:
    """The values that a question names, and which of the columns shown hold them: one short sentence each."""
    named = [*_named_values(question, catalogue)]
    found = {value: [c.path for v, c in named if v == value and c in shown] for value, _ in named}
    return [f"'{value}' = {', '.join(paths[:KNOWN_COLUMNS])};" for value, paths in found.items() if paths]


def _columns(catalogue: Catalogue, scores: dict[str, float], asked: set[str]) -> dict[str, list[Column]]:
    """The best tables until there are enough columns, in the schema's order; tables between two of them come along."""

    def worth(table: str) -> float:
        best = sorted((scores[c.path] for c in catalogue.tables[table].values()), reverse=True)
        return 2 * _shared(table, asked) + sum(best[:3])

    chosen: dict[str, list[Column]] = {}
    for table in sorted(catalogue.tables, key=worth, reverse=True):
        columns = sorted(catalogue.tables[table].values(), key=lambda c: -scores[c.path] - c.unique)[:TABLE_COLUMNS]
        if chosen and sum(map(len, chosen.values())) + len(columns) > SHOWN_COLUMNS:
            continue
        chosen[table] = columns
    order = {c.path: n for n, c in enumerate(catalogue.columns)}
    return {t: sorted(chosen[t], key=lambda c: order[c.path]) for t in catalogue.tables if t in chosen}


def _line(table: str, columns: Sequence[Column]) -> str:
    return f"{quoted(table)}({', '.join(map(_said, columns))})"


def _said(column: Column) -> str:
    """The column's name, with its values where they are few."""
    few = column.values if 1 < len(column.values) <= FEW_VALUES and not column.unique else ()
    short = [value for value in few if len(value) <= SAID_OTHERWISE]
    return quoted(column.name) + (f" [{'|'.join(short)}]" if short else "")


def _shared(name: str, asked: set[str]) -> float:
    """Share of a name's words that the question has; words run together (`paperid`) count by what they contain."""
    words = [stem(word) for word in re.findall(r"[a-z]+|[0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())]
    found = [max((_alike(word, other) for other in asked), default=0.0) for word in words]
    return sum(found) / len(found) if found else 0.0


def _alike(word: str, other: str) -> float:
    if word == other:
        return 1.0
    return len(other) / len(word) if len(other) > 3 and other in word else 0.0


def _named_values(question: str, catalogue: Catalogue) -> Iterator[tuple[str, Column]]:
    """Runs of the question's words that stand in the database, longest first, none inside another."""
    words = [*re.finditer(r"[\w][\w.&'/-]*", question.lower())]
    taken = [False] * len(words)
    for length in range(min(LONGEST_NAMED, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            if any(taken[start : start + length]):
                continue
            run = question.lower()[words[start].start() : words[start + length - 1].end()].strip(".'")
            found = catalogue.values.get(run) or catalogue.values.get(run.removesuffix("s"), ())
            if found and len(run) > 1:
                taken[start : start + length] = [True] * length
                yield from ((value, column) for column, value in found)
