"""Questions with their short SQL, made from patterns over made-up databases."""

from __future__ import annotations

import random
from collections.abc import Iterator

import sqlglot

from ...core.errors import ToolError
from ..sql.catalogue import Catalogue
from ..sql.short import expand
from . import sql_patterns as one
from . import sql_relations as many
from .sql_patterns import Pair, Pattern
from .sql_setting import Setting
from .sql_worlds import worlds

QUESTIONS = (3, 8)
"""So many are asked of one database: it is read once for all of them."""

PATTERNS: tuple[tuple[float, Pattern], ...] = (
    (8, one.listed),
    (8, one.columns),
    (7, one.look_up),
    (4, one.parent_of),
    (8, one.count),
    (3, one.distinct),
    (7, one.aggregate),
    (10, one.superlative),
    (8, one.top),
    (12, many.group),
    (9, many.most),
    (8, many.ratio),
    (7, many.nested),
    (6, many.chain),
    (4, many.compare),
)
"""How often each is used, and what makes it."""


def synthetic(dice: random.Random) -> Iterator[tuple[Catalogue, list[Pair]]]:
    """Databases with questions, without end."""
    known, weights = worlds(), [weight for weight, _ in PATTERNS]
    while True:
        setting = Setting(dice.choice(known), dice)
        pairs: list[Pair] = []
        for _ in range(dice.randint(*QUESTIONS)):
            while (pair := _pair(setting, dice.choices([p for _, p in PATTERNS], weights)[0], dice)) is None:
                pass
            pairs.append(pair)
        yield setting.catalogue, pairs


def _pair(setting: Setting, pattern: Pattern, dice: random.Random) -> Pair | None:
    """What a pattern makes of a table, if it fits and its tables join."""
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
    question = " ".join(question.split())
    if dice.random() < 0.5:
        return question
    asks = question.split()[0] in ("what", "which", "how", "who", "where", "when", "are", "is")
    return question[0].upper() + question[1:] + ("?" if asks else ".")
