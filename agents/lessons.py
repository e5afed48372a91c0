"""A team's own examples as lessons: what to quote, among the passages that a search would have shown."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.models import ModelStore
from ..core.onnx_embedder import load_embedder
from ..core.types import Passage
from ..specialists.knowledge.citation import cite
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.renderer import NOT_FOUND, render
from ..specialists.skills import find_skill, skill_names
from ..specialists.training.config import TrainConfig, TrainReport
from ..specialists.training.example import TrainingExample
from ..specialists.training.trainer import Report, silent, train
from .blueprint import Blueprint, read_rows
from .builder import knowledge_folder

EPOCHS, LEARNING_RATE = 3, 7e-4
"""Gentler than for a skill: a few hundred lessons, from an adapter that can quote already."""
ABSENT = 0.15
"""Share of lessons whose answer is taken away, so that the model learns to say so."""


def lessons(blueprint: Blueprint, name: str, knowledge: Knowledge, seed: int = 0) -> list[TrainingExample]:
    """Prompts and answers from the `.jsonl` examples of one specialist that have an `answer`.

    Each question comes twice: with the passages that a search finds, and with the right passage among fewer others.
    Rows whose answer stands in none of the passages found are left out: they would teach to guess.
    """
    card, dice = blueprint.specialists[name], random.Random(f"{seed}/{name}")
    top_k = card.knowledge.top_k if card.knowledge else 0
    made: list[TrainingExample] = []
    for row in _answered(blueprint, name):
        found = knowledge.search(row["input"], k=top_k + 3)
        right = [p for p in found if cite(row["answer"], [p])]
        wrong = [p for p in found if p not in right]
        if not right or not wrong:
            continue
        if any(p in right for p in found[:top_k]):
            made.append(_lesson(card.instructions, row["input"], found[:top_k], row["answer"]))
        few = [right[0], *dice.sample(wrong, k=dice.randint(0, 1))]
        dice.shuffle(few)
        made.append(_lesson(card.instructions, row["input"], few, row["answer"]))
        if dice.random() < 2 * ABSENT:
            made.append(_lesson(card.instructions, row["input"], wrong[: dice.randint(1, 2)], NOT_FOUND))
    return made


def learn(
    blueprint: Blueprint,
    names: Sequence[str],
    out: Path,
    *,
    minutes: float = 15.0,
    seed: int = 0,
    store: ModelStore | None = None,
    report: Report = silent,
) -> TrainReport:
    """Train one adapter on the lessons of the named specialists and write it to `out`.

    It goes on from the skill `quote`; evaluation sets stay unseen. Needs the extra `train`.

    Raises:
        InputError: none of their examples has an answer that a search finds.
        StateError: the team is not built.
    """
    store = store or ModelStore()
    embedder, base = load_embedder(blueprint.card.embedder, store), store.find(blueprint.card.base)
    rows: list[TrainingExample] = []
    for name in names:
        if blueprint.specialists[name].knowledge:
            knowledge = Knowledge.open(knowledge_folder(blueprint, name), embedder)
            rows += lessons(blueprint, name, knowledge, seed)
            knowledge.close()
    random.Random(seed).shuffle(rows)
    start = find_skill("quote") if "quote" in skill_names() else None
    recipe = TrainConfig(minutes=minutes, epochs=EPOCHS, learning_rate=LEARNING_RATE, seed=seed)
    return train(rows, base, out, recipe, start=start, report=report)


def _answered(blueprint: Blueprint, name: str) -> Iterator[dict[str, str]]:
    folder: Path = blueprint.folders[name]
    for entry in blueprint.specialists[name].examples:
        if entry.endswith(".jsonl"):
            yield from (row for row in read_rows(folder / entry) if row.get("answer"))


def _lesson(instructions: str, task: str, passages: list[Passage], answer: str) -> TrainingExample:
    citation = cite(answer, passages)
    messages = render("quote", task, [p.text for p in passages], instructions=instructions)
    return TrainingExample(messages, citation.quote if citation else NOT_FOUND)
