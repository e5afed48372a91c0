"""What a trade offers to the benchmark."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from harness import Report

from metier.core.models import LocalModel
from metier.specialists.adapters.choose import loadable, skill_of
from metier.specialists.card import SpecialistCard
from metier.specialists.engines import Engine, open_engine
from metier.specialists.engines.speed import ranked_engines
from metier.specialists.prompt import TrainingExample


class System(NamedTuple):
    """Who answers."""

    name: str
    engine: Engine
    adapter: str | None
    trained: bool = False
    """It learnt from this set, and may look at the set's training rows when it answers."""


class Trade(Protocol):
    """A module of this folder."""

    SKILL: str
    SETS: tuple[str, ...]
    rows: Callable[[Namespace, str], Sequence[Any]]
    """The rows of a set that are scored: of DATA, and where that is the training folder too, those kept aside."""
    lessons: Callable[[Namespace, str], list[TrainingExample]]
    """What an adapter for this set goes on to learn from; no row that is scored."""
    score: Callable[[Report, Namespace, str, System, Sequence[Any]], None]
    others: Callable[[Report, Namespace, str, Sequence[Any]], None]
    """Systems that need no language model."""


def same(args: Namespace) -> bool:
    """Whether what is scored is also what is learnt from, so that both must be kept apart."""
    return args.data.resolve() == args.train.resolve()


def skill_for(style: str, base: str) -> Path | None:
    """The shipped skill with which a specialist of that style works on a base."""
    return skill_of(SpecialistCard.model_construct(style=style), base)


def opened(base: LocalModel, adapters: Mapping[str, Path | None], **options: Any) -> Engine:
    """The engine that a team would run these with."""
    name = ranked_engines(base)[0]
    found = {key: loadable(folder, base, name) for key, folder in adapters.items() if folder}
    return open_engine(name, base, {key: path for key, path in found.items() if path}, **options)
