"""Who works in a team at present: what a build, a promotion or a new card replaces, as a whole."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property, partial

from langgraph.checkpoint.base import BaseCheckpointSaver

from ..core.embedding import Embedder
from ..core.files import writable
from ..core.models import ModelStore
from ..core.types import Budget
from ..router.router import Router
from ..specialists.adapters.choose import Adapter, adapter_version, on_server
from ..specialists.engines import Engine
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.specialist import Specialist
from .assemble import (
    BuildRecord,
    Runtime,
    adapter_of,
    decisions,
    engine_name,
    find_base,
    guards_embedder,
    knowledge_folder,
    open_engine_of,
    open_specialist,
    retire_published,
)
from .attachments import AttachedFiles, Attachments
from .cards import Blueprint, fingerprint
from .graph import Nodes, TeamGraph, compile_graph
from .guardrails import build_guards
from .second_look import Documents
from .threads import Threads
from .turn_memory import TurnMemory


@dataclass(frozen=True)
class Shared:
    """What stays when specialists are loaded anew: models on the disk, the embedder, conversations and memory."""

    store: ModelStore
    embedder: Embedder
    threads: Threads
    memory: TurnMemory
    attachments: Attachments
    engine: Engine | None = None
    """Runs the language model instead of the one that the card names. Whoever gave it closes it."""
    router: Router | None = None
    """Routes instead of the one that was built."""


class LoadedTeam:
    """The specialists on their engine, the router, and the graph whose stations they are. Made by `open`."""

    def __init__(
        self,
        plan: Blueprint,
        shared: Shared,
        specialists: dict[str, Specialist],
        documents: Documents,
        router: Router,
        engine: Engine,
        resources: ExitStack,
        made_of: str = "",
    ) -> None:
        self.plan, self.stamp = plan, made_of
        self.specialists, self.router, self.engine = specialists, router, engine
        self._documents = documents
        self._shared, self._resources = shared, resources

    @classmethod
    def open(cls, plan: Blueprint, shared: Shared) -> LoadedTeam:
        """Load a team that was built: the one place where router, specialists, tools and memory meet.

        Raises:
            ConfigError: a card is wrong.
            StateError, ModelNotPulled: what was built is damaged; the base is not on this machine.
        """
        made_of = stamp(plan)  # First: what changes while it is loaded is for the next refresh.
        base = None if shared.engine else find_base(plan, shared.store)
        adapters = {name: _adapter(plan, name, shared.engine) for name in plan.specialists}
        loaded = [] if shared.engine else [engine_name(plan, n, adapter, base) for n, adapter in adapters.items()]
        with ExitStack() as undo:
            engine = shared.engine
            if engine is None:
                engine = undo.enter_context(closing(open_engine_of(plan, base, loaded)))
                retire_published(plan, loaded, engine)
            runtime = Runtime(shared.embedder, base, engine, shared.threads.ledger)
            specialists: dict[str, Specialist] = {}
            for name, card in plan.specialists.items():
                knowledge = Knowledge.open(knowledge_folder(plan, name), shared.embedder) if card.knowledge else None
                if knowledge:
                    undo.enter_context(closing(knowledge))
                specialists[name] = open_specialist(plan, name, runtime, knowledge, adapters[name])
            documents = Documents(specialists)
            router = shared.router or Router.load(plan.state / "router", shared.embedder).with_second_look(
                documents.of_those_who_have_some
            )
            return cls(plan, shared, specialists, documents, router, engine, undo.pop_all(), made_of)

    @cached_property
    def saved(self) -> TeamGraph:
        """The graph that keeps its conversations."""
        return self.graph(self._shared.threads.saver)

    @cached_property
    def inner(self) -> TeamGraph:
        """The graph as a part of whatever graph it is called in, which keeps its state and its interrupts."""
        return self.graph(None)

    def graph(self, checkpointer: BaseCheckpointSaver | None) -> TeamGraph:
        """The graph over these specialists."""
        handoffs = {n: [h.to for h in s.card.handoffs] for n, s in self.specialists.items()}
        return compile_graph(self._nodes, handoffs, name=self.plan.card.name, checkpointer=checkpointer)

    @cached_property
    def _nodes(self) -> Nodes:
        card, embedder = self.plan.card, guards_embedder(self._shared.embedder)
        documents = self._documents
        readers = [
            name
            for name, specialist in self.specialists.items()
            if specialist.style.name in ("answer", "quote", "free")
        ]
        kept_log = card.router.log and writable(self.plan.state)
        return Nodes(
            self.specialists,
            self.router,
            budget=Budget(**card.budget.model_dump(exclude={"tool_seconds"})),
            window=card.memory.window,
            recall_tokens=card.memory.recall_tokens,
            guard_in=build_guards(card.guardrails, "in", embedder, [self.plan.root]),
            guard_out=build_guards(card.guardrails, "out", embedder, [self.plan.root]),
            memory=self._shared.memory,
            evidence=documents.evidence,
            settle=documents.settle,
            files=AttachedFiles(self._shared.attachments, readers, documents.evidence),
            log_route=partial(decisions(self.plan).add, self.router) if kept_log else None,
        )

    def close(self) -> None:
        """Free the model and close the files."""
        self._resources.close()


def _adapter(plan: Blueprint, name: str, engine: Engine | None) -> Adapter:
    """The adapter that a specialist works with; with an engine that was given, the card's where the engine has it."""
    if engine is None:
        return adapter_of(plan, name)
    named = on_server(plan.specialists[name])
    return named if named in engine.adapters else None


def stamp(plan: Blueprint) -> str:
    """Tells states of a team apart without loading anything: cards, the last build, the adapters in use."""
    cards = [plan.card.model_dump(), *(card.model_dump() for card in plan.specialists.values())]
    manifest = BuildRecord.read(plan.state)
    adapters = {name: adapter_version(adapter_of(plan, name)) for name in plan.specialists}
    return fingerprint(cards, manifest.model_dump() if manifest else None, adapters)
