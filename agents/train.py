"""From a team's examples to adapters: one for each style and base, which challenge what its specialists work with."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ConfigDict

from ..core.embedding import Embedder
from ..core.errors import InputError, unknown
from ..core.files import sha256
from ..core.models import LocalModel, ModelStore
from ..core.onnx_embedder import load_embedder
from ..core.run import Progress, no_progress, part_of
from ..core.types import Value
from ..specialists.adapters.choose import skill_of
from ..specialists.adapters.exchange import training_record
from ..specialists.evaluation.questions import leaked
from ..specialists.prompt import TrainingExample
from ..specialists.styles.style import Examples
from ..specialists.training.config import RATES, TrainConfig, TrainReport
from ..specialists.training.train import train_adapter
from .assemble import Runtime, open_knowledge, open_specialist
from .build import build
from .canary import open_trials
from .cards import Blueprint, blueprint_at, fingerprint
from .feedback import example_files, held_out, own_examples

EPOCHS, LEARNING_RATE = 3, 7e-4
"""Gentler than for a skill: a few hundred lessons, from an adapter that knows the style already."""

Lessons = dict[str, list[TrainingExample]]
"""Specialist to its lessons."""


class Learnt(NamedTuple):
    """What came of training."""

    reports: dict[str, TrainReport]
    """By style; `STYLE on BASE` where that is not the team's base."""
    versions: dict[str, str]
    """Specialist to its new challenger."""


def train(
    team: Blueprint | Path | str,
    specialists: Sequence[str] = (),
    out: Path | None = None,
    *,
    method: str = "lora",
    minutes: float = 15.0,
    seed: int = 0,
    store: ModelStore | None = None,
    progress: Progress = no_progress,
) -> Learnt:
    """Train on the lessons of some specialists (or of all), those of one style and base together; each gets a
    challenger.

    A `lora` goes on from the shipped skill of the style; evaluation sets stay unseen. Needs the extra `train`.

    Args:
        team: Its folder, or its blueprint; built.
        out: Write the adapter there instead, and leave the registry alone; only for specialists of one style and base.
        method: Another one than `lora` begins anew (`TrainConfig.method`).
        minutes: For all adapters together, shared out by their lessons.

    Raises:
        InputError: their examples make no lessons, `out` would have to hold several adapters, or the team's engine
            does not run what the method makes.
        StateError: the team is not built.
    """
    blueprint = blueprint_at(team)
    store = store or ModelStore()
    recipe, made, groups = _gathered(blueprint, specialists, out, method, seed, store)
    total, learnt = sum(map(len, made.values())), Learnt({}, {})
    for what, names in groups.items():
        group, base = {name: made[name] for name in names}, store.find(blueprint.base_of(names[0]))
        share = sum(map(len, group.values())) / total
        part = recipe.model_copy(update={"minutes": minutes * share})
        learnt.reports[what], versions = _train(blueprint, group, out, part, base, part_of(progress, what))
        learnt.versions.update(versions)
    return learnt


class Retrained(Value):
    """What came of retraining a specialist."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    specialist: str
    version: str | None = None
    """The new version; None where there was nothing new to learn."""
    promoted: bool = False
    on_trial: bool = False
    """It answers a share of the conversations from now on."""
    why: str


def retrain(
    team: Blueprint | Path | str,
    specialist: str,
    *,
    then: Literal["promote", "hold", "canary"] = "promote",
    share: float = 0.1,
    minutes: float = 15.0,
    seed: int = 0,
    store: ModelStore | None = None,
    progress: Progress = no_progress,
) -> Retrained:
    """Train, evaluate, and let through the gate: one step of a workflow, or of a nightly job. Needs the extra `train`.

    It trains only when the specialist's example files are others than those of its newest version, so that it may be
    called as often as one likes.

    Args:
        team: Its folder, or its blueprint.
        specialist: Whose examples are learnt.
        then: What happens to a version that passes the gate: it is used (`promote`), it waits (`hold`), or it has to
            prove itself on a share of the conversations first (`canary`).
        share: Of the conversations, for `canary`.
        minutes, seed: As for `train`.

    Raises:
        InputError: there is no such specialist, or its examples make no lessons.
        StateError: a trial of this specialist is running, or another build of the team.
    """
    blueprint = blueprint_at(team)
    if specialist not in blueprint.specialists:
        raise InputError(unknown("specialist", specialist, blueprint.specialists))
    if not has_news(blueprint, specialist):
        return Retrained(specialist=specialist, why="its newest version has learnt these examples already")
    build(blueprint, store=store, progress=progress)
    learnt = train(blueprint, [specialist], minutes=minutes, seed=seed, store=store, progress=progress)
    built = build(blueprint, store=store, progress=progress, gate="promote" if then == "promote" else "hold")
    verdict = next((one for one in built.gate if one.specialist == specialist), None)
    passed = verdict is not None and verdict.better
    on_trial = passed and then == "canary"
    if on_trial:
        with open_trials(blueprint) as trials:
            trials.start(specialist, learnt.versions[specialist], share=share)
    return Retrained(
        specialist=specialist,
        version=learnt.versions[specialist],
        promoted=passed and then == "promote",
        on_trial=on_trial,
        why=verdict.why if verdict else "it is what the specialist works with already",
    )


def has_news(blueprint: Blueprint, name: str) -> bool:
    """Are the example files others than those that the newest version was trained on?"""
    files = {f"{name}/{e}": sha256(blueprint.folders[name] / e) for e in example_files(blueprint, name)}
    held = blueprint.registry.versions(name)
    known = blueprint.registry.find(name, held[0]).record.get("data", {}) if held else {}
    return not held or any(known.get(file) != digest for file, digest in files.items())


def lesson_counts(
    team: Blueprint | Path | str,
    specialists: Sequence[str] = (),
    out: Path | None = None,
    *,
    method: str = "lora",
    seed: int = 0,
    store: ModelStore | None = None,
) -> dict[str, int]:
    """What `train` would learn from: specialist to the number of its lessons. Trains nothing.

    Raises as `train` does.
    """
    _, made, _ = _gathered(blueprint_at(team), specialists, out, method, seed, store or ModelStore())
    return {name: len(rows) for name, rows in made.items()}


def _gathered(
    blueprint: Blueprint, specialists: Sequence[str], out: Path | None, method: str, seed: int, store: ModelStore
) -> tuple[TrainConfig, Lessons, dict[str, list[str]]]:
    """The recipe, the lessons, and who learns together."""
    names = specialists or list(blueprint.specialists)
    recipe, embedder = _recipe(blueprint, method, out, seed), load_embedder(blueprint.card.embedder, store)
    made = {name: rows for name in names if (rows := lessons_of(blueprint, name, embedder, seed))}
    return recipe, made, _groups(blueprint, names, made, out)


def lessons_of(blueprint: Blueprint, name: str, embedder: Embedder, seed: int = 0) -> list[TrainingExample]:
    """The lessons of a specialist; none where its examples have no answers or its style is not metier's own.

    Raises:
        ConfigError: an example is wrong.
        StateError: the team is not built.
    """
    card = blueprint.specialists[name]
    lessons = blueprint.style(name).lessons
    if lessons is None or not example_files(blueprint, name):
        return []
    knowledge = open_knowledge(blueprint, name, embedder) if card.knowledge else None
    try:
        learner = open_specialist(blueprint, name, Runtime(embedder, {}), knowledge, None, dry=True)
        repeats = partial(leaked, held_out=held_out(blueprint), embedder=embedder)
        rows, dice = own_examples(blueprint, name, embedder), random.Random(f"{seed}/{name}")
        return list(lessons(learner, Examples(rows, dice, repeats)))
    finally:
        if knowledge:
            knowledge.close()


def _recipe(blueprint: Blueprint, method: str, out: Path | None, seed: int) -> TrainConfig:
    """A LoRA goes on from a skill, gently; other methods have rates of their own. Refuses what nothing would run."""
    if method not in RATES:
        raise InputError(unknown("method", method, RATES))
    engine = blueprint.card.engine
    if out is None and method not in ("lora", "rslora") and (engine != "transformers" or method == "full"):
        other = "`engine: transformers` runs it" if method != "full" else "docs/training.md makes a base of it"
        raise InputError(
            f"`engine: {engine}` does not run what the method '{method}' makes", hint=f"--out FOLDER keeps it; {other}"
        )
    rate = {"learning_rate": LEARNING_RATE} if method == "lora" else {}
    return TrainConfig.model_validate({"method": method, "epochs": EPOCHS, "seed": seed, **rate})


def _groups(blueprint: Blueprint, names: Sequence[str], made: Lessons, out: Path | None) -> dict[str, list[str]]:
    """What is trained (style, and base where that is not the team's) to those who learn it; refuses what cannot be."""
    groups = dict[str, list[str]]()
    for name in made:
        style, base = blueprint.specialists[name].style, blueprint.base_of(name)
        groups.setdefault(style if base == blueprint.card.base else f"{style} on {base}", []).append(name)
    if not made:
        raise InputError(f"no lessons: {', '.join(names)}", hint="they are made of examples with answers")
    if out is not None and len(groups) > 1:
        raise InputError(
            f"one adapter has one style and one base, not {', '.join(groups)}", hint="name specialists of one style"
        )
    return groups


def _train(
    blueprint: Blueprint, group: Lessons, out: Path | None, recipe: TrainConfig, base: LocalModel, progress: Progress
) -> tuple[TrainReport, dict[str, str]]:
    """One adapter for specialists of one style and base, and its version for each."""
    start = skill_of(blueprint.specialists[next(iter(group))], base.name) if recipe.method == "lora" else None
    shuffled = [row for rows in group.values() for row in rows]
    random.Random(recipe.seed).shuffle(shuffled)
    folder = out or blueprint.state / "training" / fingerprint(sorted(group))
    trained = train_adapter(shuffled, base, folder, recipe, start=start, progress=progress)
    if out is not None:
        return trained, {}
    data = {f"{n}/{e}": sha256(blueprint.folders[n] / e) for n in group for e in example_files(blueprint, n)}
    plain, said = recipe.model_dump(mode="json"), trained.model_dump(mode="json")
    why, versions = f"trained on {trained.examples} lessons", dict[str, str]()
    for name in group:
        record = training_record(blueprint.specialists[name], base, data, plain, said, start)
        versions[name] = blueprint.registry.add(name, folder, record, why).id
    shutil.rmtree(folder)
    return trained, versions
