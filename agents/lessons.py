"""A team's own examples as lessons: what to quote, among the passages that a search would have shown."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.embedding import Embedder
from ..core.files import sha256
from ..core.models import LocalModel, ModelStore
from ..core.onnx_embedder import load_embedder
from ..core.types import Passage
from ..specialists.adapters import fits
from ..specialists.knowledge.citation import cite
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.registry.record import training_record
from ..specialists.renderer import NOT_FOUND, render
from ..specialists.skills import find_skill, skill_names
from ..specialists.training.config import TrainConfig, TrainReport
from ..specialists.training.example import TrainingExample
from ..specialists.training.trainer import Report, silent, train
from .blueprint import Blueprint, fingerprint
from .builder import knowledge_folder
from .examples import answered, example_files

EPOCHS, LEARNING_RATE = 3, 7e-4
"""Gentler than for a skill: a few hundred lessons, from an adapter that can quote already."""
ABSENT = 0.15
"""Share of lessons whose answer is taken away, so that the model learns to say so."""


def lessons(
    blueprint: Blueprint, name: str, knowledge: Knowledge, embedder: Embedder, seed: int = 0
) -> list[TrainingExample]:
    """Prompts and answers from the `.jsonl` examples of one specialist that have an `answer`.

    Each question comes twice: with the passages that a search finds, and with the right passage among fewer others.
    Rows whose answer stands in none of the passages found are left out: they would teach to guess.
    """
    card, dice = blueprint.specialists[name], random.Random(f"{seed}/{name}")
    top_k = card.knowledge.top_k if card.knowledge else 0
    made: list[TrainingExample] = []
    for row in answered(blueprint, name, embedder):
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
    out: Path | None = None,
    *,
    minutes: float = 15.0,
    seed: int = 0,
    store: ModelStore | None = None,
    report: Report = silent,
) -> Learnt:
    """Train one adapter on the lessons of the named specialists; it becomes the challenger of each.

    It goes on from the skill `quote`; evaluation sets stay unseen. Needs the extra `train`.

    Args:
        out: Write the adapter there instead, and leave the registry alone.

    Raises:
        InputError: none of their examples has an answer that a search finds.
        StateError: the team is not built.
    """
    store = store or ModelStore()
    embedder, base = load_embedder(blueprint.card.embedder, store), store.find(blueprint.card.base)
    rows = {name: _taught(blueprint, name, embedder, seed) for name in names}
    start = find_skill("quote") if "quote" in skill_names() and fits(find_skill("quote"), base.name) else None
    recipe = TrainConfig(minutes=minutes, epochs=EPOCHS, learning_rate=LEARNING_RATE, seed=seed)
    shuffled = [row for some in rows.values() for row in some]
    random.Random(seed).shuffle(shuffled)
    folder = out or blueprint.state / "training" / fingerprint(sorted(names))
    trained = train(shuffled, base, folder, recipe, start=start, report=report)
    taught = [name for name, some in rows.items() if some]
    if out is not None:
        return Learnt(trained, {})
    versions = {name: _register(blueprint, name, taught, folder, base, recipe, trained, start) for name in taught}
    shutil.rmtree(folder)
    return Learnt(trained, versions)


def _taught(blueprint: Blueprint, name: str, embedder: Embedder, seed: int) -> list[TrainingExample]:
    """The lessons of a specialist that quotes from documents; for other styles none are made yet."""
    card = blueprint.specialists[name]
    if card.knowledge is None or card.style != "quote":
        return []
    knowledge = Knowledge.open(knowledge_folder(blueprint, name), embedder)
    try:
        return lessons(blueprint, name, knowledge, embedder, seed)
    finally:
        knowledge.close()


class Learnt(NamedTuple):
    """What came of training."""

    report: TrainReport
    versions: dict[str, str]
    """Specialist to its new challenger."""


def _register(
    blueprint: Blueprint,
    name: str,
    taught: Sequence[str],
    folder: Path,
    base: LocalModel,
    recipe: TrainConfig,
    report: TrainReport,
    start: Path | None,
) -> str:
    """The adapter as the challenger of one of those it was trained on."""
    data = {f"{n}/{e}": sha256(blueprint.folders[n] / e) for n in taught for e in example_files(blueprint, n)}
    card, plain = blueprint.specialists[name], recipe.model_dump(mode="json")
    record = training_record(card, base, data, plain, report.model_dump(mode="json"), start)
    return blueprint.registry.add(name, folder, record, f"trained on {report.examples} lessons").id


def _lesson(instructions: str, task: str, passages: list[Passage], answer: str) -> TrainingExample:
    citation = cite(answer, passages)
    messages = render("quote", task, [p.text for p in passages], instructions=instructions)
    return TrainingExample(messages, citation.quote if citation else NOT_FOUND)
