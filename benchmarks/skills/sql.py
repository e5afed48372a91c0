"""Trains the skill `sql`, which writes one short SELECT over the schema in its prompt.

    python benchmarks/skills/sql.py DATA OUT [--minutes 30]

DATA is the folder of the public sets; OUT becomes the adapter's, a PEFT repository.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path

from metier.benchmarks.skills.skill import Lesson, Row, Skill, Source, kept_aside, main, read_rows
from metier.core.errors import ConfigError
from metier.specialists.prompt import TrainingExample
from metier.specialists.styles.sql.prompt import Solved, alike
from metier.specialists.styles.sql.questions.lessons import TOGETHER, in_turn, recombined, together
from metier.specialists.styles.sql.questions.own import answered, own_questions
from metier.specialists.styles.sql.questions.patterns import synthetic
from metier.specialists.styles.sql.schema import Catalogue
from metier.specialists.styles.sql.short import shorten_sql
from metier.tools.database import SqliteDatabase

# Questions with gold SQL: what the skill, and adapters for one database, learn from.

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


def _evenly(found: Sequence[Taught], dice: random.Random) -> list[Taught]:
    """At most `EVENLY` of each group."""
    groups: dict[str, list[Taught]] = {}
    for one in found:
        groups.setdefault(f"{one.asked.group} {_form(one)}", []).append(one)
    return [one for group in groups.values() for one in dice.sample(group, min(EVENLY, len(group)))]


@cache
def opened(file: Path) -> tuple[SqliteDatabase, Catalogue]:
    """A database and what is in it, read once."""
    database = SqliteDatabase(file)
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
    found = [sql for gold in question.gold if (sql := shorten_sql(gold, catalogue, database))]
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


# The lesson, and the skill.

MADE_UP = 1400
"""Made-up databases with three to eight questions each, for one round."""

REAL = 3
"""Prompts for each real question, for one round."""

OWN = 50
"""Prompts with made-up questions about each real database, for one round."""

CHECKED = 40
"""Kept-aside questions whose loss is measured for early stopping."""


def aside(question: Asked) -> bool:
    """Whether the question's database belongs to the part that is only scored."""
    return kept_aside(question.group, 0.4)


def lesson(folder: Path, sets: Sequence[str], seed: int, rounds: int) -> Lesson:
    """Made-up questions, and real ones of the databases that were not kept aside."""
    dice = random.Random(seed)
    found = taught([q for name in sets for q in questions(folder, name)])
    learnt = [t for t in found if not aside(t.asked)]
    real = lessons(learnt, seed, REAL * rounds, varied(learnt, seed))
    for file in sorted({t.asked.database for t in learnt}):
        real += own(file, seed, OWN * rounds)
    invented = [
        together(catalogue, [Solved(*pair) for pair in pairs])
        for catalogue, pairs in islice(synthetic(dice), MADE_UP * rounds)
    ]
    checks = [t for t in found if aside(t.asked)]
    dice.shuffle(checks)
    both = [*real, *invented]
    dice.shuffle(both)
    return Lesson(both, lessons(checks, seed, 1)[:CHECKED])


SKILL = Skill(
    name="sql",
    title="one short SELECT over a schema in the prompt",
    prompt="The prompt is made by metier's renderer (`style: sql`); at inference a grammar keeps the answer to "
    "the tables and columns of the database, and a program adds FROM and JOIN.",
    preparation="Gold queries were rewritten into the short SQL of `specialists/sql/short.py` and kept only where they "
    "give the same rows. Most prompts are made up: patterns over small invented databases. Two fifths of the real "
    "databases were kept aside, by a hash of their name.",
    limits="English only. Questions that need self-joins, window functions or several steps are mostly answered wrong.",
    tags=("text-to-sql",),
    sources={"sql_defog": Source("sql-eval and defog-data (Defog.ai, 2023)", "Apache-2.0")},
    lessons=lesson,
)


if __name__ == "__main__":
    main(SKILL)
