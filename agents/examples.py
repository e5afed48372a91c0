"""The examples of a specialist as something to learn from: those with answers, and none that an evaluation asks."""

from __future__ import annotations

from typing import Any

from ..core.embedding import Embedder
from ..specialists.evaluation.leaks import leaked
from .blueprint import Blueprint, read_rows
from .evaluation import held_out


def example_files(blueprint: Blueprint, name: str) -> list[str]:
    """The `.jsonl` files among a specialist's examples, relative to its card."""
    return [entry for entry in blueprint.specialists[name].examples if entry.endswith(".jsonl")]


def answered(blueprint: Blueprint, name: str, embedder: Embedder) -> list[dict[str, Any]]:
    """A specialist's examples with answers, without those that repeat a question of any evaluation set of the team.

    Raises:
        ConfigError: an example or evaluation file is wrong.
    """
    rows = [row for entry in example_files(blueprint, name) for row in read_rows(blueprint.folders[name] / entry)]
    rows = [row for row in rows if row.get("answer")]
    repeats = leaked([row["input"] for row in rows], held_out(blueprint), embedder)
    return [row for place, row in enumerate(rows) if place not in repeats]
