"""What a trade offers to the benchmark."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from harness import Report

from metier.specialists.engines.llama import LlamaEngine
from metier.specialists.prompt import TrainingExample


class System(NamedTuple):
    """Who answers."""

    name: str
    engine: LlamaEngine
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
