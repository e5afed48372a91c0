"""A circuit breaker: a tool that keeps failing is left alone for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds that only go forward."""


class Breaker:
    """Closed: calls pass. Open after `failures` in a row: none pass for `rest` seconds, then one may try."""

    def __init__(self, *, failures: int = 5, rest: float = 30.0, clock: Clock = time.monotonic) -> None:
        self._limit, self._rest, self._clock = failures, rest, clock
        self._failed = 0
        self._closed_at = 0.0
        self._lock = threading.Lock()

    def wait(self) -> float:
        """Seconds until a call may pass; 0 lets this caller through, and only this one while the tool is on trial."""
        with self._lock:
            if self._failed < self._limit:
                return 0.0
            left = self._closed_at - self._clock()
            if left <= 0:
                self._closed_at = self._clock() + self._rest
            return max(left, 0.0)

    def record(self, ok: bool) -> None:
        """Say how a call went."""
        with self._lock:
            self._failed = 0 if ok else self._failed + 1
            if self._failed >= self._limit:
                self._closed_at = self._clock() + self._rest
