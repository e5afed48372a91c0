"""How a question to a database is put to the model, with questions like it that were answered before."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ..renderer import Message, Shot, render
from ..support import content_words, stem
from .catalogue import Catalogue
from .linking import Linked, known, link

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
    return render("sql", task, schema=linked.schema, instructions=instructions, facts=facts, shots=earlier), linked


def alike(task: str, solved: Sequence[Solved], count: int = SHOTS) -> list[Solved]:
    """The questions that share the rarest words with this one, the most alike last."""
    held = [_words(s.task) for s in solved]
    seen = Counter(word for words in held for word in words)
    asked = _words(task)

    def shared(words: frozenset[str]) -> float:
        weight = math.fsum(math.log(1 + len(solved) / seen[w]) for w in words & asked)
        return weight / math.sqrt(1 + len(words))

    best = sorted(range(len(solved)), key=lambda n: (-shared(held[n]), n))[:count]
    return [solved[n] for n in reversed(best)]


def _words(text: str) -> frozenset[str]:
    return frozenset(stem(word) for word in content_words(text)) | frozenset(text.lower().split()[:2])
