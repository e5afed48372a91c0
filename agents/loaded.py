"""Who works in a team at present: what a build, a promotion or a new card replaces, as a whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from ..core.embedding import Embedder
from ..core.models import ModelStore
from ..core.types import Budget
from ..router.log import LoggedRouter
from ..router.router import Router
from ..specialists.adapters.choose import adapter_version
from ..specialists.engines import Engine, open_engine
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.specialist import Specialist
from .assemble import (
    BuildRecord,
    Runtime,
    adapter_of,
    best_evidence,
    by_evidence,
    decisions,
    engine_name,
    find_base,
    knowledge_folder,
    open_specialist,
)
from .cards import Blueprint, fingerprint
from .graph import Nodes, compile_graph
from .guardrails import build_guards
from .memories import Memories, origin
from .threads import Threads


@dataclass(frozen=True)
class Shared:
    """What stays when the loaded team changes: models on the disk, the embedder, conversations and memories."""

    store: ModelStore
    embedder: Embedder
    threads: Threads
    memories: Memories


class LoadedTeam:
    """The specialists on their engine, the router, and the graph whose stations they are. Made by `LoadedTeam.open`."""

    def __init__(
        self,
        plan: Blueprint,
        shared: Shared,
        specialists: dict[str, Specialist],
        router: Router,
        engine: Engine,
        resources: ExitStack,
        made_of: str = "",
    ) -> None:
        self.plan, self.stamp = plan, made_of
        self.specialists, self.router, self.engine = specialists, router, engine
        self._shared, self._resources = shared, resources

    @classmethod
    def open(cls, plan: Blueprint, shared: Shared) -> LoadedTeam:
        """Load a team that was built: the one place where router, specialists, tools and memory meet.

        Raises:
            ConfigError: a card is wrong.
            StateError, ModelNotPulled: what was built is damaged; the base is not on this machine.
        """
        made_of = stamp(plan)  # First: what changes while it is loaded is for the next refresh.
        base = find_base(plan, shared.store)
        adapters = {name: adapter_of(plan, name) for name in plan.specialists}
        loaded = [engine_name(plan, name, adapter, base) for name, adapter in adapters.items()]
        with ExitStack() as undo:
            files = {name: Path(name) for name in loaded if name and base}
            engine = open_engine(plan.card.engine, base or plan.card.base, files, folders=[plan.root])
            undo.enter_context(closing(engine))
            runtime = Runtime(shared.embedder, base, engine, shared.threads.ledger)
            specialists: dict[str, Specialist] = {}
            for name, card in plan.specialists.items():
                knowledge = Knowledge.open(knowledge_folder(plan, name), shared.embedder) if card.knowledge else None
                if knowledge:
                    undo.enter_context(closing(knowledge))
                specialists[name] = open_specialist(plan, name, runtime, knowledge, adapters[name])
            router = Router.load(plan.state / "router", shared.embedder).with_second_look(by_evidence(specialists))
            return cls(plan, shared, specialists, router, engine, undo.pop_all(), made_of)

    @cached_property
    def saved(self) -> CompiledStateGraph:
        """The graph that keeps its conversations."""
        return self.graph(self._shared.threads.saver)

    def graph(self, checkpointer: BaseCheckpointSaver | None) -> CompiledStateGraph:
        """The graph over these specialists."""
        handoffs = {n: [h.to for h in s.card.handoffs] for n, s in self.specialists.items()}
        return compile_graph(self._nodes, handoffs, name=self.plan.card.name, checkpointer=checkpointer)

    @cached_property
    def _nodes(self) -> Nodes:
        card, embedder = self.plan.card, self._shared.embedder
        return Nodes(
            self.specialists,
            LoggedRouter(self.router, decisions(self.plan), origin) if card.router.log else self.router,
            budget=Budget(**card.budget.model_dump(exclude={"tool_seconds"})),
            window=card.memory.window,
            recall_tokens=card.memory.recall_tokens,
            guard_in=build_guards(card.guardrails, "in", embedder, [self.plan.root]),
            guard_out=build_guards(card.guardrails, "out", embedder, [self.plan.root]),
            memories=self._shared.memories,
            evidence=best_evidence(self.specialists),
        )

    def close(self) -> None:
        """Free the model and close the files."""
        self._resources.close()


def stamp(plan: Blueprint) -> str:
    """Tells states of a team apart without loading anything: cards, the last build, the adapters in use."""
    cards = [plan.card.model_dump(), *(card.model_dump() for card in plan.specialists.values())]
    manifest = BuildRecord.read(plan.state)
    adapters = {name: adapter_version(adapter_of(plan, name)) for name in plan.specialists}
    return fingerprint(cards, manifest.model_dump() if manifest else None, adapters)


# A thing that is replaced while others use it.


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
