"""Questions with gold SQL: what the skill `sql`, and adapters for one database, learn from."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path

from ...core.errors import ConfigError
from ..sql.catalogue import Catalogue
from ..sql.database import Database
from ..sql.prompt import Solved, alike, prompt
from ..sql.shorten import shorten
from .example import TrainingExample
from .sets import Row, read_rows
from .sql_file import SqliteFile
from .sql_own import answered, own_questions
from .sql_recombine import recombined

TOGETHER = 5
"""Questions of one database in one prompt."""

AROUND = 100
"""Made-up questions about a team's database."""

EVENLY = 4
"""Questions of one group with SQL of one form in a round: what is asked often is not all that there is to learn."""


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


def lessons(found: Sequence[Taught], seed: int, rounds: int, more: Sequence[Taught] = ()) -> list[TrainingExample]:
    """Prompts in which questions stand behind some that are alike but of another group, all groups alike often.

    Args:
        rounds: Up to `EVENLY` questions of each group stand last in a prompt so many times.
        more: Recombined questions; they stand last once, and are not shown before others.
    """
    dice, made = random.Random(seed), list[TrainingExample]()
    for number in range(rounds):
        for one in [*_evenly(found, dice), *(_evenly(more, dice) if number % 2 == 0 else ())]:
            others = [t for t in found if t.asked.database == one.asked.database and _other(t, one)]
            some = dice.sample(others, max(len(others) * 2 // 3, min(len(others), TOGETHER)))
            shots = alike(one.asked.task, [Solved(t.asked.task, t.sql) for t in some], TOGETHER - 1)
            # Without any in some prompts: that is how a database is met for the first time.
            shots = shots if dice.random() < 0.5 else shots[: dice.randint(0, 2)]
            made.append(together(opened(one.asked.database)[1], [*shots, Solved(one.asked.task, one.sql)]))
    dice.shuffle(made)
    return made


def varied(found: Sequence[Taught], seed: int) -> list[Taught]:
    """Questions that are recombined out of others, as far as they have an answer; of the group that they came from."""
    dice, made, asked = random.Random(seed), list[Taught](), {one.asked.task for one in found}
    for one in found:
        database, catalogue = opened(one.asked.database)
        for other in recombined(Solved(one.asked.task, one.sql), catalogue, dice):
            if other.task not in asked and answered(other.sql, catalogue, database):
                made.append(Taught(replace(one.asked, task=other.task, gold=()), other.sql))
    return made


def own(file: Path, seed: int, prompts: int) -> list[TrainingExample]:
    """Prompts with made-up questions about a database that exists."""
    database, catalogue = opened(file)
    found = islice(own_questions(catalogue, database, random.Random(seed)), prompts * TOGETHER)
    return in_turn([*found], catalogue)


def made_up(solved: Sequence[Solved], catalogue: Catalogue, database: Database, dice: random.Random) -> list[Solved]:
    """Questions made out of answered ones, and made up about the database itself; all have an answer."""
    made = [other for one in solved for other in recombined(one, catalogue, dice)]
    found = [other for other in made if answered(other.sql, catalogue, database)]
    found += islice(own_questions(catalogue, database, dice), AROUND)
    dice.shuffle(found)
    return found


def in_turn(found: Sequence[Solved], catalogue: Catalogue, instructions: str = "") -> list[TrainingExample]:
    """Prompts with `TOGETHER` questions each."""
    return [together(catalogue, found[n : n + TOGETHER], instructions) for n in range(0, len(found), TOGETHER)]


def _evenly(found: Sequence[Taught], dice: random.Random) -> list[Taught]:
    """At most `EVENLY` of each group."""
    groups: dict[str, list[Taught]] = {}
    for one in found:
        groups.setdefault(f"{one.asked.group} {_form(one)}", []).append(one)
    return [one for group in groups.values() for one in dice.sample(group, min(EVENLY, len(group)))]


def together(catalogue: Catalogue, solved: Sequence[Solved], instructions: str = "") -> TrainingExample:
    """One prompt with several questions; all their answers are learnt."""
    *shots, last = solved
    about = " ".join(s.task for s in solved)
    messages, _ = prompt(last.task, catalogue, shots, about=about, instructions=instructions)
    return TrainingExample(messages, last.sql)


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


def _form(one: Taught) -> str:
    """Its SQL without texts and numbers."""
    return re.sub(r"'[^']*'|\b\d+\b", "?", one.sql)


def _other(one: Taught, other: Taught) -> bool:
    """Whether one does not give the other away: another template, or where a group is a whole database, other SQL."""
    whole = one.asked.group.endswith(f"/{one.asked.database.stem}")
    return one.sql != other.sql and (whole or one.asked.group != other.asked.group)
