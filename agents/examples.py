"""Rows with answers: evaluation sets, and examples to learn from, among which no evaluation question may be."""

from __future__ import annotations

from typing import Any

from ..core.embedding import Embedder
from ..core.errors import ConfigError
from ..specialists.evaluation.leaks import leaked
from ..specialists.evaluation.question import Question
from .blueprint import Blueprint, read_rows


def example_files(blueprint: Blueprint, name: str) -> list[str]:
    """The `.jsonl` files among a specialist's examples, relative to its card."""
    return [entry for entry in blueprint.specialists[name].examples if entry.endswith(".jsonl")]


def answered(blueprint: Blueprint, name: str, embedder: Embedder) -> list[dict[str, Any]]:
    """Those of a specialist's `own_examples` that have an answer."""
    return [row for row in own_examples(blueprint, name, embedder) if row.get("answer")]


def own_examples(blueprint: Blueprint, name: str, embedder: Embedder) -> list[dict[str, Any]]:
    """A specialist's examples, without those that repeat a question of any evaluation set of the team.

    Raises:
        ConfigError: an example or evaluation file is wrong.
    """
    blueprint.tasks(name)  # complains of a row without an input
    rows = [row for entry in example_files(blueprint, name) for row in read_rows(blueprint.folders[name] / entry)]
    repeats = leaked([row["input"] for row in rows], held_out(blueprint), embedder)
    return [row for place, row in enumerate(rows) if place not in repeats]


def read_questions(blueprint: Blueprint, name: str) -> list[Question]:
    """The evaluation set of a specialist; empty when its card names none.

    Raises:
        ConfigError: a row is no question; names file and line.
    """
    entry = blueprint.specialists[name].evaluation
    if entry is None:
        return []
    path, found = blueprint.folders[name] / entry, dict[str, Question]()
    for number, row in enumerate(read_rows(path), 1):
        try:
            question = Question.of(row)
        except ConfigError as error:
            raise ConfigError(error.message, file=path, line=number, hint=error.hint) from error
        found[question.id] = question
    return list(found.values())


def held_out(blueprint: Blueprint) -> list[str]:
    """The questions of all evaluation sets of the team: nobody on it may learn from them."""
    return [question.input for name in blueprint.specialists for question in read_questions(blueprint, name)]
