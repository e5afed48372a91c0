"""How a question to a database is put to the model: the part of the schema that it is about (schema linking), the
values that it names, and questions like it that were answered before."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ....core.text import content_stems, rarity, stem
from ...prompt import Message, Shot, render
from .schema import Catalogue, Column

INSTRUCTION = "Write one SQLite SELECT that answers the question."

_SHOWN_COLUMNS = 32
"""So many columns are shown in all: a small model reads about 200 tokens a second."""

_TABLE_COLUMNS = 9
"""Of one table at most so many, the best."""

_FEW_VALUES = 4
"""A text column with so few values is shown with them."""

_SAMPLE_CHARACTERS = 12
"""Of a value that is worth showing as a sample."""

_HOLDERS = 3
"""Columns that are told for one value."""

SHOTS = 4
"""Answered questions that are shown: each costs about 60 tokens."""


@dataclass(frozen=True)
class Linked:
    """What the model is shown, and the names that its grammar may use."""

    schema: str
    """One table a line; the same for every question while the whole database fits."""
    columns: tuple[Column, ...]


class Solved(NamedTuple):
    """A question with the short SQL that answers it."""

    task: str
    sql: str


def prompt(
    task: str,
    catalogue: Catalogue,
    shots: Sequence[Solved] = (),
    *,
    about: str = "",
    instructions: str = "",
    facts: Sequence[str] = (),
) -> tuple[list[Message], Linked]:
    """Messages for one question, and the part of the database that they show.

    Args:
        shots: Answered questions of the same database, shown as earlier turns.
        about: What the schema is chosen for; left out, the question.
        facts: What is known besides, such as the error of a query that was tried.
    """
    linked = link(about or task, catalogue)
    earlier = [Shot(s.task, s.sql, value_hints(s.task, catalogue, linked.columns)) for s in shots]
    facts = [*value_hints(task, catalogue, linked.columns), *facts]
    messages = render(INSTRUCTION, task, system=[linked.schema], instructions=instructions, facts=facts, shots=earlier)
    return messages, linked


def alike(task: str, solved: Sequence[Solved], count: int = SHOTS) -> list[Solved]:
    """The questions that share the rarest words with this one, the most alike last."""
    words = [_words(s.task) for s in solved]
    weights, asked = rarity(words), _words(task)

    def shared(held: frozenset[str]) -> float:
        return math.fsum(weights[word] for word in held & asked) / math.sqrt(1 + len(held))

    best = sorted(range(len(solved)), key=lambda n: (-shared(words[n]), n))[:count]
    return [solved[n] for n in reversed(best)]


def _words(text: str) -> frozenset[str]:
    return frozenset(content_stems(text)) | frozenset(text.lower().split()[:2])


# Schema linking: the tables and columns that the model is shown.


def link(question: str, catalogue: Catalogue) -> Linked:
    """The part of a database that a question is about."""
    overlap = _Overlap(_stems(question))
    holders = {column.path for _, column in catalogue.mentioned(question)}
    scores = {c.path: overlap(c.stems) + (1.5 if c.path in holders else 0.0) for c in catalogue.columns}
    tables = _best_tables(catalogue, scores, overlap)
    lines = [f"{catalogue.paths[table]}({', '.join(map(_shown, columns))})" for table, columns in tables.items()]
    return Linked("\n".join(lines), tuple(column for columns in tables.values() for column in columns))


def _best_tables(catalogue: Catalogue, scores: dict[str, float], overlap: _Overlap) -> dict[str, list[Column]]:
    """The best tables until there are enough columns, in the schema's order; tables between two of them come along."""

    def worth(table: str) -> float:
        best = sorted((scores[c.path] for c in catalogue.tables[table].values()), reverse=True)
        return 2 * overlap(catalogue.stems[table]) + sum(best[:3])

    chosen: dict[str, list[Column]] = {}
    for table in sorted(catalogue.tables, key=worth, reverse=True):
        columns = sorted(catalogue.tables[table].values(), key=lambda c: -scores[c.path] - c.unique)[:_TABLE_COLUMNS]
        if chosen and sum(map(len, chosen.values())) + len(columns) > _SHOWN_COLUMNS:
            continue
        chosen[table] = columns
    order = {c.path: n for n, c in enumerate(catalogue.columns)}
    return {t: sorted(chosen[t], key=lambda c: order[c.path]) for t in catalogue.tables if t in chosen}


def _shown(column: Column) -> str:
    """The column's name, with its values where they are few."""
    few = column.values if 1 < len(column.values) <= _FEW_VALUES and not column.unique else ()
    samples = [value for value in few if len(value) <= _SAMPLE_CHARACTERS]
    return column.quoted + (f" [{'|'.join(samples)}]" if samples else "")


class _Overlap:
    """Share of a name's words that some text has; words run together (`paperid`) count by what they contain."""

    def __init__(self, asked: Iterable[str]) -> None:
        self._asked, self._alike = frozenset(asked), dict[str, float]()
        # Of `category` the stem is `categori`, which does not stand in `categoryid`.
        self._roots = {word.removesuffix("i") for word in self._asked}

    def __call__(self, stems: Sequence[str]) -> float:
        alike = self._alike
        for word in stems:
            if word not in alike:
                inside = (len(root) / len(word) for root in self._roots if len(root) > 3 and root in word)
                alike[word] = 1.0 if word in self._asked else max(inside, default=0.0)
        return sum(alike[word] for word in stems) / len(stems) if stems else 0.0


def _stems(text: str) -> set[str]:
    return {stem(word) for word in re.findall(r"[a-z0-9]+", text.lower())}


# Value linking: what the question names, and where it stands.


def value_hints(question: str, catalogue: Catalogue, shown: Sequence[Column]) -> list[str]:
    """The values that a question names, and which of the columns shown hold them: one short sentence each."""
    values = {value: holders[:_HOLDERS] for value, holders in named_values(question, catalogue, shown).items()}
    return [f"'{value}' = {', '.join(c.path for c in holders)};" for value, holders in values.items()]


def named_values(question: str, catalogue: Catalogue, shown: Sequence[Column]) -> dict[str, list[Column]]:
    """The values that a question names, and the columns shown that hold them, the likeliest first."""
    holders: dict[str, list[Column]] = {}
    for value, column in catalogue.mentioned(question):
        if column in shown:
            holders.setdefault(value, []).append(column)
    return {value: likeliest(columns, value, question, catalogue) for value, columns in holders.items()}


def likeliest(columns: Sequence[Column], value: str, question: str, catalogue: Catalogue) -> list[Column]:
    """The columns, in the order in which the question may mean them by a value.

    A noun beside the value tells most ("the Norsk supplier"), then what else the question speaks of.
    """
    asked, beside = _Overlap(_stems(question)), _Overlap(_beside(value, question))

    def worth(column: Column) -> float:
        table = catalogue.stems[column.table]
        about = max(asked(c.stems) for c in catalogue.tables[column.table].values())
        spoken = asked(column.noun) + 0.5 * asked(table) + 0.5 * about
        home = column.unique and _Overlap(table)(column.noun) > 0
        return 2 * beside(column.noun) + beside(table) + spoken + 0.3 * home

    return sorted(columns, key=worth, reverse=True)


def _beside(value: str, question: str) -> set[str]:
    """The words next to a value, and before `named`."""
    near = re.search(
        rf"(?:\b(\w+) (?:named |called )?)?['\"]?{re.escape(value.lower())}s?['\"]?(?: (\w+))?", question.lower()
    )
    return {stem(word) for word in near.groups() if word} if near else set()
