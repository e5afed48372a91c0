"""A thing that is replaced while others use it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """Whatever must be closed when nobody uses it any more."""

    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class Current(Generic[T]):
    """Hands out the present one of a kind. Whoever has begun with one keeps it to the end, also when it is replaced
    meanwhile; what was replaced is closed by its last user. Safe to use from several threads.
    """

    def __init__(self, thing: T) -> None:
        self._thing, self._users, self._lock = thing, {id(thing): 0}, threading.Lock()
        self._open = [thing]

    @property
    def thing(self) -> T:
        """The present one, for a look at it: it may be closed as soon as it is replaced."""
        return self._thing

    @contextmanager
    def use(self) -> Iterator[T]:
        """The present one, which stays open inside the `with` block."""
        thing = self.keep()
        try:
            yield thing
        finally:
            with self._lock:
                self._users[id(thing)] -= 1
            self._tidy()

    def keep(self) -> T:
        """The present one, which stays open until all is closed."""
        with self._lock:
            self._users[id(self._thing)] += 1
            return self._thing

    def replace(self, thing: T) -> None:
        """From now on it is this one."""
        with self._lock:
            self._thing = thing
            self._users[id(thing)] = 0
            self._open.append(thing)
        self._tidy()

    def close(self) -> None:
        """Close all that are open, whoever uses them."""
        with self._lock:
            left, self._open = self._open, []
        for thing in left:
            thing.close()

    def _tidy(self) -> None:
        with self._lock:
            done = [one for one in self._open if one is not self._thing and not self._users[id(one)]]
            self._open = [one for one in self._open if one not in done]
        for thing in done:
            thing.close()
