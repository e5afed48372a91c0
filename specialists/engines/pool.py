"""Engines that would not fit into memory together: they are open in turn, the one that was used last stays longest."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from ...core.errors import EngineError
from .chat_model import ChatModel
from .engine import GREEDY, Constraint, Engine, Sampling, check_adapter


@dataclass(frozen=True)
class Opener:
    """An engine that can be opened when it is needed."""

    open: Callable[[], Engine]
    memory: int
    """Bytes that it takes while it is open."""
    adapters: tuple[str, ...] = ()
    """Names that its `chat` takes."""


class EnginePool:
    """Opens engines when they are asked for, and closes those that were not used for longest to make room.

    Whoever needs one for which there is no room waits until others have finished what they write. Thread-safe.

    Args:
        openers: Name to engine. Each must fit into the room by itself.
        room: Bytes for all that are open.
    """

    def __init__(self, openers: Mapping[str, Opener], room: int) -> None:
        self._openers, self._room = dict(openers), room
        # The one that was not used for the longest time stands first.
        self._open, self._users = OrderedDict[str, Engine](), Counter[str]()
        self._changed, self._closed = threading.Condition(), False

    @property
    def engines(self) -> dict[str, Engine]:
        """Name to an engine that may be used at any time, open or not."""
        return {name: PooledEngine(self, name, opener.adapters) for name, opener in self._openers.items()}

    @contextmanager
    def use(self, name: str) -> Iterator[Engine]:
        """An engine, which stays open inside the block.

        Raises:
            EngineError: it cannot be opened, or the pool is closed.
        """
        with self._changed:
            engine = self._opened(name)
            self._users[name] += 1
        try:
            yield engine
        finally:
            with self._changed:
                self._users[name] -= 1
                self._changed.notify_all()

    def _opened(self, name: str) -> Engine:
        """Called with the lock held: others wait while one is opened."""
        while not self._closed and name not in self._open and not self._make_room(self._openers[name].memory):
            self._changed.wait()
        if self._closed:
            raise EngineError("this engine is closed", hint="open a new one")
        if name not in self._open:
            self._open[name] = self._openers[name].open()
        self._open.move_to_end(name)
        return self._open[name]

    def _make_room(self, needed: int) -> bool:
        """Close what nobody uses until there is room; whether there is."""
        idle = [name for name in self._open if not self._users[name]]
        while self._taken() + needed > self._room and idle:
            self._open.pop(idle.pop(0)).close()
        return self._taken() + needed <= self._room

    def _taken(self) -> int:
        return sum(self._openers[name].memory for name in self._open)

    def close(self) -> None:
        """Close all; calls under way may fail."""
        with self._changed:
            self._closed = True
            for engine in self._open.values():
                engine.close()
            self._open.clear()
            self._changed.notify_all()


class PooledEngine:
    """One of a pool's engines, an `Engine`: open only while it is asked something, and for as long as there is room."""

    def __init__(self, pool: EnginePool, name: str, adapters: tuple[str, ...]) -> None:
        self._pool, self._name, self.adapters = pool, name, adapters

    @property
    def name(self) -> str:
        with self.use() as engine:
            return engine.name

    @property
    def context(self) -> int:
        with self.use() as engine:
            return engine.context

    def use(self) -> AbstractContextManager[Engine]:
        """The engine itself, which stays open inside the block."""
        return self._pool.use(self._name)

    def chat(self, sampling: Sampling = GREEDY, *, adapter: str | None = None, slot: str | None = None) -> PooledChat:
        check_adapter(adapter, self.adapters)
        name = adapter or self._name
        return PooledChat(engine=self, model_name=name, adapter=adapter, sampling=sampling, slot=slot)

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        with self.use() as engine:
            return engine.constrain(constraint)

    def count(self, text: str) -> int:
        with self.use() as engine:
            return engine.count(text)

    def close(self) -> None:
        """Nothing: the pool closes what it has opened."""


class PooledChat(ChatModel):
    """Made by `PooledEngine.chat`: each call is one of the engine that is open then."""

    engine: PooledEngine
    slot: str | None = None

    @contextmanager
    def _real(self) -> Iterator[ChatModel]:
        with self.engine.use() as engine:
            chat = engine.chat(self.sampling, adapter=self.adapter, slot=self.slot)
            if not isinstance(chat, ChatModel):  # of somebody's own engine
                kind, ours = type(chat).__name__, f"{ChatModel.__module__}.{ChatModel.__name__}"
                raise EngineError(
                    f"engines that are open in turn give chat models of the class {ours}, this one a {kind}",
                    hint="leave `ram` out of team.yaml, or raise it so that all bases fit",
                )
            yield chat

    def _complete(self, messages: list[BaseMessage], stop: Sequence[str], sampling: Sampling, **how: Any) -> AIMessage:
        with self._real() as chat:
            return chat._complete(messages, stop, sampling, **how)

    def _choose(self, messages: list[BaseMessage], options: Sequence[str]) -> AIMessage:
        with self._real() as chat:
            return chat._choose(messages, options)

    def _write(
        self, messages: list[BaseMessage], stop: Sequence[str], sampling: Sampling, **how: Any
    ) -> Iterator[AIMessageChunk]:
        with self._real() as chat:
            yield from chat._write(messages, stop, sampling, **how)
