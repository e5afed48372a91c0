"""The team: the one place where router, specialists, tools and memory meet, and the one object a caller needs.

team = Team.load("plant")
answer = team.ask("How often is the carousel bearing greased?", thread_id="shift-1")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from ..core.errors import ConfigError, StateError, unknown
from ..core.events import Emit, Event, ignore
from ..core.models import ModelStore
from ..core.onnx_embedder import load_embedder
from ..core.types import Answer, Budget, Route
from ..memory.fact import Owner
from ..memory.inbox import Note, Verdict
from ..router.log import LoggedRouter
from ..router.router import Router
from ..specialists.call_decision import read_decision
from ..specialists.card import SpecialistCard
from ..specialists.engines import Engine, open_engine
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.specialist import Specialist
from ..tools.approval import Decision
from .blueprint import Blueprint
from .builder import Manifest, build, decisions, find_base, knowledge_folder
from .card import TeamCard
from .desk import open_desk
from .evidence import best_evidence, by_evidence
from .feedback import note_of, open_inbox
from .graph import RECURSION_LIMIT, compile_graph
from .guardrails import build_guards
from .guardrails.passages import sift
from .heads import open_head
from .journal import GraphJournal
from .memories import Memories, configured, open_memories, origin
from .nodes import Nodes
from .streaming import in_thread
from .threads import Threads, open_threads
from .toolbox import open_hands
from .versions import adapter_of, engine_name, version_of


class Team:
    """Specialists, router, memory and guardrails, compiled into one LangGraph graph.

    Use it as a context manager, or call `close` at the end; the model's memory is freed then.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        specialists: dict[str, Specialist],
        router: Router,
        engine: Engine,
        embedder: Any,
        threads: Threads,
        memories: Memories,
        resources: ExitStack,
    ) -> None:
        self.card = blueprint.card
        self.specialists = specialists
        self.router = router
        self.engine = engine
        self.threads = threads
        self.facts = memories.facts
        self._inbox, self._resources = open_inbox(blueprint), resources
        self._nodes = Nodes(
            specialists,
            LoggedRouter(router, decisions(blueprint), origin) if self.card.router.log else router,
            budget=Budget(**self.card.budget.model_dump(exclude={"tool_seconds"})),
            window=self.card.memory.window,
            recall_tokens=self.card.memory.recall_tokens,
            guard_in=build_guards(self.card.guardrails, "in", embedder=embedder),
            guard_out=build_guards(self.card.guardrails, "out", embedder=embedder),
            memories=memories,
            evidence=best_evidence(specialists),
        )
        self._handoffs = {n: [h.to for h in s.card.handoffs] for n, s in specialists.items()}
        self._saved = self._compile(threads.saver)

    @classmethod
    def load(cls, folder: Path | str | Blueprint, *, store: ModelStore | None = None) -> Team:
        """Open a team that was built.

        Raises:
            ConfigError: a card is wrong.
            StateError, ModelNotPulled: the team is not built; its models are not on this machine.
        """
        plan = folder if isinstance(folder, Blueprint) else Blueprint.read(folder)
        manifest = Manifest.read(plan.state)
        if manifest is None or set(manifest.versions) != set(plan.specialists):
            raise StateError(f"team '{plan.card.name}' is not built", hint=f"metier build -t {plan.root}")
        store = store or ModelStore()
        embedder, base = load_embedder(plan.card.embedder, store), find_base(plan, store)
        published = {name: adapter_of(plan, name) for name in plan.specialists}
        adapters = {name: engine_name(adapter, base, plan.card.engine) for name, adapter in published.items()}
        with ExitStack() as undo:
            files = {name: Path(name) for name in adapters.values() if name and base}
            engine = undo.enter_context(closing(open_engine(plan.card.engine, base or plan.card.base, files)))
            threads = undo.enter_context(closing(open_threads(plan)))
            memories = undo.enter_context(closing(open_memories(plan, embedder)))
            specialists: dict[str, Specialist] = {}
            for name, card in plan.specialists.items():
                knowledge = Knowledge.open(knowledge_folder(plan, name), embedder) if card.knowledge else None
                specialists[name] = Specialist(
                    card,
                    engine,
                    knowledge,
                    adapter=adapters[name],
                    hands=open_hands(plan, name, knowledge, threads.ledger, embedder),
                    embedder=embedder,
                    decision=read_decision(published[name]),
                    desk=open_desk(plan, name),
                    head=open_head(plan, name),
                    sift=sift(build_guards(plan.card.guardrails, "between", embedder)),
                    journal=GraphJournal(),
                    abstain_below=plan.card.abstain_below,
                    version=version_of(plan, name, base, knowledge, published[name]),
                )
            router = Router.load(plan.state / "router", embedder).with_second_look(by_evidence(specialists))
            return cls(plan, specialists, router, engine, embedder, threads, memories, undo.pop_all())

    @classmethod
    def of(cls, name: str, *specialists: SpecialistCard, folder: Path | str = ".", **card: Any) -> Team:
        """Declare, build and open a team in Python.

        Args:
            name: The team's name.
            specialists: Their cards; paths in them start at `folder`.
            folder: Where documents are found and the build is kept.
            card: Other fields of `team.yaml`, such as `base` or `guardrails`.
        """
        team = TeamCard(name=name, specialists=list(dict.fromkeys(s.name for s in specialists)), **card)
        plan = Blueprint.of(team, specialists, Path(folder).resolve())
        build(plan)
        return cls.load(plan)

    @property
    def graph(self) -> CompiledStateGraph:
        """The team as a LangGraph graph without a checkpointer of its own: a node for any graph with `messages`."""
        return self._compile(None)

    def ask(
        self,
        task: str,
        *,
        thread_id: str | None = None,
        specialist: str | None = None,
        user: str | None = None,
        tenant: str | None = None,
        emit: Emit = ignore,
    ) -> Answer:
        """Work on one task.

        Args:
            task: In the user's words.
            thread_id: Conversation that it belongs to; None begins a new one.
            specialist: Skip the router and ask this one.
            user: Whose long-term memory is used; None keeps and recalls nothing of a person.
            tenant: Whom the user belongs to, where several organisations share the team.
            emit: Told of every event while the work goes on.

        Returns:
            The answer. Its kind is `waiting` when a person must decide first; see `resume`.

        Raises:
            ConfigError: there is no such specialist.
            StateError: the thread waits for a decision about its last task, or is another user's.
        """
        more = {"thread_id": thread_id, "specialist": specialist, "user": user, "tenant": tenant}
        return _answer(self.stream(task, **more), emit)

    def stream(
        self,
        task: str,
        *,
        thread_id: str | None = None,
        specialist: str | None = None,
        user: str | None = None,
        tenant: str | None = None,
    ) -> Iterator[Event]:
        """The events of `ask` as they happen; the last one is `answer` or `waiting` and holds the whole `Answer`."""
        if specialist is not None and specialist not in self.specialists:
            raise ConfigError(unknown("specialist", specialist, self.specialists))
        owner = Owner(user, tenant)
        if thread_id:
            self.threads.admit(thread_id, owner)
        given = {"messages": [("user", task)], "attached": specialist}
        yield from self._work(given, thread_id or f"once-{uuid4().hex}", str(uuid4()), owner)

    def resume(self, thread_id: str, decisions: Sequence[Decision] = (), *, emit: Emit = ignore) -> Answer:
        """Go on with a task that waits for a person or that was broken off, also in another process.

        Args:
            thread_id: Its conversation.
            decisions: One for each call that waits, in order; none for a task that was broken off.
            emit: Told of every event while the work goes on.

        Raises:
            InputError: more or fewer decisions than calls that wait.
            StateError: nothing is unfinished in that thread.
        """
        return _answer(self.stream_on(thread_id, decisions), emit)

    def stream_on(self, thread_id: str, decisions: Sequence[Decision] = ()) -> Iterator[Event]:
        """The events of `resume`, as `stream` gives those of `ask`.

        Raises:
            InputError: more or fewer decisions than calls that wait.
            StateError: nothing is unfinished in that thread.
        """
        left = self.threads.unfinished(thread_id)
        if left is None:
            raise StateError(f"nothing is unfinished in thread '{thread_id}'", hint="metier threads list")
        decided = left.resume(decisions)
        owner = self.threads.owner(thread_id) or Owner(None)
        yield from self._work(Command(resume=decided) if decided else None, thread_id, left.run_id, owner)

    def _work(self, given: Any, thread: str, run: str, owner: Owner) -> Iterator[Event]:
        config: RunnableConfig = {
            "configurable": {"thread_id": thread, **configured(owner)},
            "recursion_limit": RECURSION_LIMIT,
            "run_name": self.card.name,
            "metadata": {"run_id": run},
        }
        start, event = perf_counter(), None
        saved: Any = self._saved
        durability = self.card.memory.durability if self.threads.saver else None
        for event in saved.stream(given, config, stream_mode="custom", durability=durability):
            assert isinstance(event, Event)  # the stations send nothing else into this stream
            if event.name == "answer":
                timings = {**event.data["timings"], "total": perf_counter() - start}
                signed = {**event.data, "timings": timings, "thread_id": thread, "run_id": run}
                event = event.model_copy(update={"data": signed})
            yield event
        if event is None or event.name != "answer":
            yield self._ending(thread, perf_counter() - start)

    def _ending(self, thread: str, seconds: float) -> Event:
        """The last event of a run that gave no answer by itself: it waits, or its last station had been saved."""
        if answer := self.threads.answer(thread):
            return Event(name="answer", specialist=answer.specialist, data=answer.model_dump(mode="json"))
        left = self.threads.unfinished(thread)
        if left is None or not left.questions:
            raise StateError("the graph ended without an answer")
        return Event(name="waiting", data=left.waiting(thread, seconds).model_dump(mode="json"))

    async def aask(self, task: str, **more: Any) -> Answer:
        """`ask` for asynchronous callers; the work runs in a thread."""
        return await asyncio.to_thread(self.ask, task, **more)

    async def astream(self, task: str, **more: Any) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers; the work runs in one thread."""
        async for event in in_thread(lambda: self.stream(task, **more)):
            yield event

    def route(self, task: str, *, context: Sequence[str] = ()) -> Route:
        """Who would work on this, without doing it."""
        return self.router.route(task, context=context)

    def feedback(self, verdict: Verdict, correction: str | None = None, **whom: str | None) -> Note:
        """Say what an answer was worth. Who is meant by `thread_id` and `specialist`, and errors: as `note_of`."""
        note = note_of(self.threads, self.specialists, verdict, correction=correction, **whom)
        self._inbox.add(note)
        return note

    def close(self) -> None:
        """Free the model and close the files. The team cannot be used afterwards."""
        self._resources.close()

    def __enter__(self) -> Team:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _compile(self, checkpointer: BaseCheckpointSaver | None) -> CompiledStateGraph:
        return compile_graph(self._nodes, self._handoffs, name=self.card.name, checkpointer=checkpointer)


def _answer(events: Iterator[Event], emit: Emit) -> Answer:
    last = Event(name="answer")
    for last in events:
        emit(last)
    return Answer.model_validate(last.data)
