"""Trains the skill `sql`: `python -m metier.specialists.training.sql DATA OUT --minutes 30`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ..sql.prompt import Solved
from .sets import kept_aside
from .skill import Lesson, Skill, Source, main
from .sql_data import Asked, lessons, own, questions, taught, together, varied
from .sql_synthetic import synthetic

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
