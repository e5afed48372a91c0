"""Seconds per stage of a run, gathered wherever the work happens.

`record()` opens a run's timings; `timing(stage)` adds to them from any depth, also from the threads that LangGraph
starts (they inherit the context). Outside a recorded run, `timing` does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

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
def timing(stage: str) -> Iterator[None]:
    """Add the block's wall time to `stage` of the run that is being recorded.

    Stages of parallel specialists add up, so their sum can exceed the run's total.
    """
    timings = _run.get()
    if timings is None:
        yield
        return
    start = perf_counter()
    try:
        yield
    finally:
        with _lock:
            timings[stage] = timings.get(stage, 0.0) + perf_counter() - start
