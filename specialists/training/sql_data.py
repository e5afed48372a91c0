"""Questions with gold SQL: what the skill `sql`, and adapters for one database, learn from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...core.errors import ConfigError
from ..sql.catalogue import Catalogue
from ..sql.prompt import Solved, alike, prompt
from ..sql.shorten import shorten
from .example import TrainingExample
from .sets import Row, read_rows
from .sql_file import SqliteFile

TOGETHER = 5
"""Questions of one database in one prompt."""


@dataclass(frozen=True)
class Asked:
    """A question to a database, with gold SQL."""

    group: str
    """Database or query template: what a split must not cut through."""
    task: str
    gold: tuple[str, ...]
    """All accepted queries."""
    database: Path


@dataclass(frozen=True)
class Taught:
    """A question with the short SQL that answers it."""

    asked: Asked
    sql: str


def questions(folder: Path, name: str) -> list[Asked]:
    """The rows of `sql_defog` or `sql_geoquery` whose gold result is not empty.

    Raises:
        ConfigError: a database is missing.
    """
    rows = [row for row in read_rows(folder, name) if not row["meta"].get("empty")]
    return [_asked(row, name, folder / "backends" / name) for row in rows]


def taught(found: Sequence[Asked]) -> list[Taught]:
    """Those questions whose gold SQL has a short form."""
    return [Taught(q, sql) for q in found if (sql := _short(q))]


def lessons(found: Sequence[Taught], seed: int, rounds: int) -> list[TrainingExample]:
    """Prompts in which each question stands `rounds` times, behind questions that are alike but of another group."""
    dice, made = random.Random(seed), list[TrainingExample]()
    for number in range(rounds):
        for one in found:
            others = [t for t in found if t.asked.database == one.asked.database and _other(t, one)]
            some = dice.sample(others, max(len(others) * 2 // 3, min(len(others), TOGETHER)))
            shots = alike(one.asked.task, [Solved(t.asked.task, t.sql) for t in some], TOGETHER - 1)
            # Without any in some prompts: that is how a database is met for the first time.
            shots = shots if number % 2 == 0 else shots[: dice.randint(0, 2)]
            made.append(together(opened(one.asked.database)[1], [*shots, Solved(one.asked.task, one.sql)]))
    dice.shuffle(made)
    return made


def together(catalogue: Catalogue, solved: Sequence[Solved]) -> TrainingExample:
    """One prompt with several questions; all their answers are learnt."""
    *shots, last = solved
    about = " ".join(s.task for s in solved)
    return TrainingExample(prompt(last.task, catalogue, shots, about=about)[0], last.sql)


@cache
def opened(file: Path) -> tuple[SqliteFile, Catalogue]:
    """A database and what is in it, read once."""
    database = SqliteFile(file)
    return database, Catalogue.of(database)


def _asked(row: Row, name: str, backend: Path) -> Asked:
    meta = row["meta"]
    files = [backend / f"{meta['db']}.sqlite"] if "db" in meta else sorted(backend.glob("*.sqlite"))
    if not files or not files[0].is_file():
        raise ConfigError(f"no database for {row['id']}", file=backend)
    task = " ".join(part for part in (row["input"], meta.get("instructions")) if part)
    group = meta["db"] if "db" in meta else meta["template"]
    return Asked(f"{name}/{group}", task, tuple(row.get("answers") or [row["answer"]]), files[0])


def _short(question: Asked) -> str | None:
    """Of the short forms of all accepted queries the one that is easiest to write."""
    database, catalogue = opened(question.database)
    found = [sql for gold in question.gold if (sql := shorten(gold, catalogue, database))]
    return min(found, key=_burden, default=None)


def _burden(sql: str) -> tuple[int, int]:
    return sql.count(" FROM "), len(sql)


def _other(one: Taught, other: Taught) -> bool:
    """Whether one does not give the other away: another template, or where a group is a whole database, other SQL."""
    whole = one.asked.group.endswith(f"/{one.asked.database.stem}")
    return one.sql != other.sql and (whole or one.asked.group != other.asked.group)
