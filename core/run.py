"""What is told, timed, spent and noted while a run goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from time import monotonic, perf_counter
from typing import Any, Literal, Protocol
from uuid import uuid4

from pydantic import Field

from .errors import BudgetExceeded
from .types import Budget, Usage, Value

EventName = Literal[
    "guard", "recall", "route", "retrieve", "token", "tool", "handoff", "check", "step", "waiting", "answer"
]


# Named events, for streaming, traces and the chat page.


class Event(Value):
    """Something that happened. `specialist` is set for what happens inside one."""

    name: EventName
    specialist: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


Emit = Callable[[Event], None]
"""Where events go. Parts that emit take one of these and never know who listens."""


def ignore(event: Event) -> None:
    """The `Emit` of those who do not listen."""


# How a run ends early.


class Cancelled(Exception):
    """The run was called off. Not a `MetierError`: whoever makes an abstention out of those must let this one pass."""


_called_off: ContextVar[Callable[[], bool] | None] = ContextVar("metier_called_off", default=None)


@contextmanager
def cancellable(called_off: Callable[[], bool]) -> Iterator[None]:
    """Work inside the block ends with `Cancelled` at its next event once `called_off()` is true, or what a block around
    it asks.
    """
    outer = _called_off.get()
    token = _called_off.set(lambda: called_off() or (outer is not None and outer()))
    try:
        yield
    finally:
        _called_off.reset(token)


def check_cancelled() -> None:
    """Asked by a run wherever it tells an event, each token among them.

    Raises:
        Cancelled: somebody called it off.
    """
    called_off = _called_off.get()
    if called_off is not None and called_off():
        raise Cancelled("the run was called off")


# How far long work is.


Progress = Callable[[str, int, int], None]
"""Called by long work as it goes: in a few words what is at work, how much of it is done, and how much there is. The
last is 0 where nobody can tell."""


def no_progress(what: str, done: int, total: int) -> None:
    """The `Progress` of those who do not look."""


def part_of(progress: Progress, whole: str) -> Progress:
    """The `Progress` of a part of some work: `whole: what`."""
    return lambda what, done, total: progress(f"{whole}: {what}", done, total)


# Who looks on while a run goes on: a trace of it.


Tracer = Callable[[str, str], AbstractContextManager[Callable[..., None]]]
"""Wraps each step of a run, given its kind (`model`, `tool` …) and the name of what works; gives a function that takes
what else is known of the step by keyword: `input_tokens=…`. Nothing that was asked or answered is told so."""

_tracing: ContextVar[Tracer | None] = ContextVar("metier_tracing", default=None)


@contextmanager
def traced(tracer: Tracer) -> Iterator[None]:
    """Steps of the work inside the block are told to `tracer`."""
    token = _tracing.set(tracer)
    try:
        yield
    finally:
        _tracing.reset(token)


@contextmanager
def step(kind: str, name: str = "") -> Iterator[Callable[..., None]]:
    """A step of a run for whoever looks on; see `Tracer`. Gives the function that takes what else is known of it."""
    tracer = _tracing.get()
    if tracer is None:
        yield _not_noted
        return
    with tracer(kind, name) as note:
        yield note


def _not_noted(**known: Any) -> None:
    """Nobody looks on."""


# Seconds per stage of a run, gathered wherever the work happens.


_lock = threading.Lock()


_run: ContextVar[dict[str, float] | None] = ContextVar("metier_timings", default=None)


@contextmanager
def record() -> Iterator[dict[str, float]]:
    """The timings of everything inside the block: stage to seconds, filled while it runs."""
    timings: dict[str, float] = {}
    token = _run.set(timings)
    try:
        yield timings
    finally:
        _run.reset(token)


@contextmanager
def timing(stage: str, name: str = "") -> Iterator[Callable[..., None]]:
    """Add the block's wall time to `stage` of the run that is being recorded; it is a `step` of that kind, too.

    Stages of parallel specialists add up, so their sum can exceed the run's total.

    Args:
        stage: What is done.
        name: Of what does it: a model, a tool.
    """
    timings, start = _run.get(), perf_counter()
    try:
        with step(stage, name) as note:
            yield note
    finally:
        if timings is not None:
            with _lock:
                timings[stage] = timings.get(stage, 0.0) + perf_counter() - start


# How a run survives an interruption: a step that was done is not done again when the run goes on.


Plain = dict[str, Any]
"""What JSON can say."""


class Journal(Protocol):
    """The steps of the run that this thread is working on. They must come in the same order whenever it goes on."""

    def once(self, step: Callable[[], Plain]) -> Plain:
        """What the step gives: done now, or noted earlier."""
        ...

    def key(self) -> str:
        """Identifies the work on one brief: the same before and after an interruption, and never used for another."""
        ...


class Unkept:
    """The journal of those who run without a graph: every step is done, nothing is noted."""

    def once(self, step: Callable[[], Plain]) -> Plain:
        """Do it."""
        return step()

    def key(self) -> str:
        """A new one."""
        return uuid4().hex


# The budget of a run while it is being spent.


class Meter:
    """Counts what a specialist spends of its brief's budget. Not shared between threads.

    Raises:
        BudgetExceeded: from `check` and `spend`, when steps, tokens or seconds are used up.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.usage = Usage()
        self.steps = 0
        self._start = monotonic()

    def check(self, tokens: int = 0) -> None:
        """May another step that needs about `tokens` tokens begin?"""
        spent = self.usage.input_tokens + self.usage.output_tokens
        if self.steps >= self.budget.steps:
            raise BudgetExceeded(f"{self.steps} of {self.budget.steps} steps are used up")
        if spent + tokens > self.budget.tokens:
            raise BudgetExceeded(f"the next step needs {tokens} tokens, {max(0, self.budget.tokens - spent)} are left")
        if monotonic() - self._start > self.budget.seconds:
            raise BudgetExceeded(f"{self.budget.seconds:.1f} seconds are used up")

    def spend(self, usage: Usage) -> None:
        """Count one step and its tokens."""
        self.steps += 1
        self.usage += usage

    def rest(self, *, handoffs: int = 0) -> Budget:
        """What is left, for the next specialist; `handoffs` of them are taken off."""
        spent = self.usage.input_tokens + self.usage.output_tokens
        return Budget(
            steps=max(0, self.budget.steps - self.steps),
            tokens=max(0, self.budget.tokens - spent),
            seconds=max(0.0, self.budget.seconds - (monotonic() - self._start)),
            handoffs=max(0, self.budget.handoffs - handoffs),
        )
