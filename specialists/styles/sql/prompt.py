"""How a question to a database is put to the model, with questions like it that were answered before."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ....core.text import content_stems, rarity, stem
from ...prompt import Message, Shot, render
from .schema import Catalogue, Column, parts, quoted

# What of a database a question is about: the tables and columns that the model is shown, and values that it names.


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
    asked = _stems(question)
    held = {column.path for _, column in _named_values(question, catalogue)}
    scores = {c.path: _shared(c.name, asked) + (1.5 if c.path in held else 0.0) for c in catalogue.columns}
    shown = _columns(catalogue, scores, asked)
    columns = tuple(c for columns in shown.values() for c in columns)
    return Linked("\n".join(_line(t, c) for t, c in shown.items()), columns)


def known(question: str, catalogue: Catalogue, shown: Sequence[Column]) -> list[str]:
    """The values that a question names, and which of the columns shown hold them: one short sentence each."""
    found = {v: holders[:KNOWN_COLUMNS] for v, holders in named(question, catalogue, shown).items()}
    return [f"'{value}' = {', '.join(c.path for c in columns)};" for value, columns in found.items() if columns]


def named(question: str, catalogue: Catalogue, shown: Sequence[Column]) -> dict[str, list[Column]]:
    """The values that a question names, and the columns shown that hold them, the likeliest first."""
    found: dict[str, list[Column]] = {}
    for value, column in _named_values(question, catalogue):
        if column in shown:
            found.setdefault(value, []).append(column)
    return {value: likeliest(columns, value, question, catalogue) for value, columns in found.items()}


def likeliest(columns: Sequence[Column], value: str, question: str, catalogue: Catalogue) -> list[Column]:
    """The columns, in the order in which the question may mean them by a value.

    A noun beside the value tells most ("the Norsk supplier"), then what else the question speaks of.
    """
    asked, beside = _stems(question), _beside(value, question)

    def worth(column: Column) -> float:
        called, table = _called(column), column.table
        about = max(_shared(c.name, asked) for c in catalogue.tables[table].values())
        spoken = _shared(called, asked) + 0.5 * _shared(table, asked) + 0.5 * about
        home = column.unique and _shared(called, _stems(table)) > 0
        return 2 * _shared(called, beside) + _shared(table, beside) + spoken + 0.3 * home

    return sorted(columns, key=worth, reverse=True)


def _called(column: Column) -> str:
    """What its values are: `ship` for `ship.ship_name`, `depot` for `depot.name`."""
    return re.sub(r"(?i)_?(name|title)$", "", column.name) or column.table


def _beside(value: str, question: str) -> set[str]:
    """The words next to a value, and before `named`."""
    near = re.search(
        rf"(?:\b(\w+) (?:named |called )?)?['\"]?{re.escape(value.lower())}s?['\"]?(?: (\w+))?", question.lower()
    )
    return {stem(word) for word in near.groups() if word} if near else set()


def _stems(text: str) -> set[str]:
    return {stem(word) for word in re.findall(r"[a-z0-9]+", text.lower())}


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
    words = [stem(word) for word in parts(name)]
    found = [max((_alike(word, other) for other in asked), default=0.0) for word in words]
    return sum(found) / len(found) if found else 0.0


def _alike(word: str, other: str) -> float:
    if word == other:
        return 1.0
    root = other.removesuffix("i")  # of `category` the stem is `categori`, which does not stand in `categoryid`
    return len(root) / len(word) if len(root) > 3 and root in word else 0.0


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


INSTRUCTION = "Write one SQLite SELECT that answers the question."

SHOTS = 4
"""Answered questions that are shown: each costs about 60 tokens."""


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
    earlier = [Shot(s.task, s.sql, known(s.task, catalogue, linked.columns)) for s in shots]
    facts = [*known(task, catalogue, linked.columns), *facts]
    messages = render(INSTRUCTION, task, system=[linked.schema], instructions=instructions, facts=facts, shots=earlier)
    return messages, linked


def alike(task: str, solved: Sequence[Solved], count: int = SHOTS) -> list[Solved]:
    """The questions that share the rarest words with this one, the most alike last."""
    held = [_words(s.task) for s in solved]
    weights, asked = rarity(held), _words(task)

    def shared(words: set[str]) -> float:
        return math.fsum(weights[word] for word in words & asked) / math.sqrt(1 + len(words))

    best = sorted(range(len(solved)), key=lambda n: (-shared(held[n]), n))[:count]
    return [solved[n] for n in reversed(best)]


def _words(text: str) -> set[str]:
    return content_stems(text) | {*text.lower().split()[:2]}
