"""Questions with their short SQL, made from patterns over made-up databases."""

from __future__ import annotations

import random
from collections.abc import Iterator

import sqlglot

from ...core.errors import ToolError
from ..sql.catalogue import Catalogue
from ..sql.short import expand
from . import sql_measures as more
from . import sql_patterns as one
from . import sql_relations as many
from .sql_patterns import Pair, Pattern
from .sql_setting import Setting
from .sql_worlds import worlds

QUESTIONS = (3, 8)
"""So many are asked of one database: it is read once for all of them."""

PATTERNS: tuple[tuple[float, Pattern], ...] = (
    (7, one.listed),
    (8, one.columns),
    (12, one.look_up),
    (5, one.parent_of),
    (8, one.of_parent),
    (8, one.count),
    (3, one.distinct),
    (7, one.aggregate),
    (12, one.superlative),
    (8, one.top),
    (12, many.group),
    (8, many.most),
    (6, many.ratio),
    (7, many.nested),
    (6, many.chain),
    (4, many.compare),
    (7, more.holder),
    (7, more.ranked),
    (6, more.share),
    (3, more.combined),
    (6, more.recent),
    (2, more.flags),
    (4, more.either),
    (8, more.linked),
    (3, more.both),
    (3, more.in_order),
    (3, more.from_most),
)
"""How often each is used, and what makes it."""


def synthetic(dice: random.Random) -> Iterator[tuple[Catalogue, list[Pair]]]:
    """Databases with questions, without end."""
    known = worlds()
    while True:
        world = dice.choice(known)
        if dice.random() < 0.2:
            # Real databases have more tables than one question is about.
            world = {**dice.choice(known), **world}
        setting = Setting(world, dice)
        pairs: list[Pair] = []
        for _ in range(dice.randint(*QUESTIONS)):
            while (pair := asked(setting, dice)) is None:
                pass
            pairs.append(pair)
        yield setting.catalogue, pairs


def asked(setting: Setting, dice: random.Random) -> Pair | None:
    """What some pattern makes of some table, if it fits and its tables join."""
    pattern = dice.choices([p for _, p in PATTERNS], [weight for weight, _ in PATTERNS])[0]
    made = pattern(setting, dice.choice(setting.tables), dice)
    if made is None:
        return None
    try:
        expand(made[1], setting.catalogue)
    except ToolError:
        return None
    return _written(made[0], dice), sqlglot.parse_one(made[1], read="sqlite").sql("sqlite")


def _written(question: str, dice: random.Random) -> str:
    """Capital and mark, or neither."""
    question = " ".join(question.split()).replace(" ,", ",")
    if dice.random() < 0.5:
        return question
    asks = question.split()[0] in ("what", "which", "how", "who", "where", "when", "are", "is")
    return question[0].upper() + question[1:] + ("?" if asks else ".")
