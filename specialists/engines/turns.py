"""Who of several at work computes next, where only one can: in order, short steps and long ones mixed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

BETWEEN = 8
"""Short turns that go before a long one that waits."""


class Turns:
    """One turn at a time, to be taken for a single step, never while waiting for anything else.

    Whoever leaves calls the next one; nobody decides for themselves whether it is their turn. So the place is always
    taken or wanted by nobody. Those with short steps (a token) come in the order in which they asked, and so do those
    with long ones (a part of a prompt); where both wait, `BETWEEN` short ones go before each long one. With up to so
    many who write, each gets a token after one long step at most, however many prompts are to be read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = deque[_Ticket]()
        self._holder: _Ticket | None = None
        self._short = 0
        """Short turns since the last long one."""

    @property
    def waiting(self) -> int:
        """How many want a turn."""
        return len(self._waiting)

    @contextmanager
    def turn(self, *, long: bool = False) -> Iterator[None]:
        """Wait for a turn; the block is it. What the block raises ends it, too."""
        ticket = _Ticket(long)
        try:
            with self._lock:
                self._waiting.append(ticket)
                self._call()
            ticket.called.wait()
            yield
        finally:  # a signal may have come at any place above
            with self._lock:
                if self._holder is ticket:
                    self._holder = None
                elif ticket in self._waiting:
                    self._waiting.remove(ticket)
                self._call()

    def _call(self) -> None:
        """Give the place to the next, if it is free and anybody waits."""
        if self._holder is not None or not self._waiting:
            return
        long = self._short >= BETWEEN
        ticket = next((one for one in self._waiting if one.long == long), self._waiting[0])
        self._waiting.remove(ticket)
        self._short = 0 if ticket.long else self._short + 1
        self._holder = ticket
        ticket.called.set()


class _Ticket:
    """Somebody who wants a turn."""

    def __init__(self, long: bool) -> None:
        self.long, self.called = long, threading.Event()
