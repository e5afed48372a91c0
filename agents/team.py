"""The team: the one place where router, specialists, tools and memory meet, and the one object a caller needs.

team = Team.load("plant")
answer = team.ask("How often is the carousel bearing greased?", thread_id="shift-1")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from ..core.errors import ConfigError, StateError, unknown
from ..core.events import Emit, Event, ignore
from ..core.models import ModelStore
from ..core.onnx_embedder import load_embedder
from ..core.types import Answer, Budget, Route
from ..memory.checkpoints import open_checkpoints
from ..router.log import LoggedRouter
from ..router.router import Router
from ..specialists.adapters import find_adapter
from ..specialists.card import SpecialistCard
from ..specialists.engines import Engine, open_engine
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.specialist import Specialist
from ..tools.context import ToolContext
from ..tools.hands import Hands
from ..tools.registry import build_tools
from .blueprint import Blueprint
from .builder import Manifest, build, decisions, find_base, knowledge_folder
from .card import TeamCard
from .evidence import by_evidence
from .graph import RECURSION_LIMIT, compile_graph
from .guardrails import build_guards
from .nodes import Nodes


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
        checkpointer: BaseCheckpointSaver | None,
        embedder: Any,
    ) -> None:
        self.card = blueprint.card
        self.specialists = specialists
        self.router = router
        self.engine = engine
        self._nodes = Nodes(
            specialists,
            LoggedRouter(router, decisions(blueprint)) if self.card.router.log else router,
            budget=Budget(**self.card.budget.model_dump()),
            window=self.card.memory.window,
            guard_in=build_guards(self.card.guardrails, "in", embedder=embedder),
            guard_out=build_guards(self.card.guardrails, "out", embedder=embedder),
        )
        self._handoffs = {n: [h.to for h in s.card.handoffs] for n, s in specialists.items()}
        self._saved = self._compile(checkpointer)

    @classmethod
    def load(cls, folder: Path | str | Blueprint, *, store: ModelStore | None = None) -> Team:
        """Open a team that was built.

        Raises:
            ConfigError: a card is wrong.
            StateError: the team is not built.
            ModelNotPulled: its models are not on this machine.
        """
        plan = folder if isinstance(folder, Blueprint) else Blueprint.read(folder)
        manifest = Manifest.read(plan.state)
        if manifest is None or set(manifest.versions) != set(plan.specialists):
            raise StateError(f"team '{plan.card.name}' is not built", hint=f"metier build {plan.root}")
        store = store or ModelStore()
        embedder = load_embedder(plan.card.embedder, store)
        base = find_base(plan, store)
        adapters = {
            name: str(found) if base and (found := find_adapter(card, plan.folders[name], base)) else None
            for name, card in plan.specialists.items()
        }
        with ExitStack() as undo:
            engine = open_engine(plan.card.engine, base or plan.card.base, {a: Path(a) for a in adapters.values() if a})
            undo.callback(engine.close)
            specialists = {
                name: Specialist(
                    card,
                    engine,
                    Knowledge.open(knowledge_folder(plan, name), embedder) if card.knowledge else None,
                    adapter=adapters[name] if base else card.model.adapter,
                    hands=_hands(plan, name),
                    abstain_below=plan.card.abstain_below,
                    version=manifest.versions[name],
                )
                for name, card in plan.specialists.items()
            }
            router = Router.load(plan.state / "router", embedder).with_second_look(by_evidence(specialists))
            saver = open_checkpoints(plan.card.memory.checkpoints, plan.state)
            team = cls(plan, specialists, router, engine, saver, embedder)
            undo.pop_all()
        return team

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
        self, task: str, *, thread_id: str | None = None, specialist: str | None = None, emit: Emit = ignore
    ) -> Answer:
        """Work on one task.

        Args:
            task: In the user's words.
            thread_id: Conversation that it belongs to; None begins a new one.
            specialist: Skip the router and ask this one.
            emit: Told of every event while the work goes on.

        Raises:
            ConfigError: there is no such specialist.
            StateError: the graph was stopped before it answered.
        """
        last: Event | None = None
        for last in self.stream(task, thread_id=thread_id, specialist=specialist):
            emit(last)
        if last is None or last.name != "answer":
            raise StateError("the graph ended without an answer")
        return Answer.model_validate(last.data)

    def stream(self, task: str, *, thread_id: str | None = None, specialist: str | None = None) -> Iterator[Event]:
        """The events of one task as they happen; the last one is `answer` and holds the whole `Answer`.

        Raises:
            ConfigError: there is no such specialist.
        """
        if specialist is not None and specialist not in self.specialists:
            raise ConfigError(unknown("specialist", specialist, self.specialists))
        thread, run = thread_id or f"once-{uuid4().hex}", uuid4()
        config: RunnableConfig = {
            "configurable": {"thread_id": thread},
            "recursion_limit": RECURSION_LIMIT,
            "run_id": run,
            "run_name": self.card.name,
        }
        start = perf_counter()
        task_in = {"messages": [("user", task)], "attached": specialist}
        for event in self._saved.stream(task_in, config, stream_mode="custom", durability="sync"):  # type: ignore[arg-type]
            assert isinstance(event, Event)  # the stations send nothing else into this stream
            if event.name == "answer":
                timings = {**event.data["timings"], "total": perf_counter() - start}
                event = Event(
                    name="answer",
                    specialist=event.specialist,
                    data={**event.data, "timings": timings, "thread_id": thread, "run_id": str(run)},
                )
            yield event

    async def aask(self, task: str, **more: Any) -> Answer:
        """`ask` for asynchronous callers; the work runs in a thread."""
        return await asyncio.to_thread(self.ask, task, **more)

    async def astream(self, task: str, **more: Any) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers; the work runs in one thread."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Event | None]()

        def pump() -> None:
            try:
                for event in self.stream(task, **more):
                    loop.call_soon_threadsafe(queue.put_nowait, event)
            finally:
                loop.call_soon_threadsafe(queue.put_nowait, None)

        work = asyncio.create_task(asyncio.to_thread(pump))
        while (event := await queue.get()) is not None:
            yield event
        await work

    def route(self, task: str, *, context: Sequence[str] = ()) -> Route:
        """Who would work on this, without doing it."""
        return self.router.route(task, context=context)

    def close(self) -> None:
        """Free the model. The team cannot be used afterwards."""
        self.engine.close()

    def __enter__(self) -> Team:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _compile(self, checkpointer: BaseCheckpointSaver | None) -> CompiledStateGraph:
        return compile_graph(self._nodes, self._handoffs, name=self.card.name, checkpointer=checkpointer)


def _hands(plan: Blueprint, name: str) -> Hands | None:
    """The tools of a specialist's card."""
    card = plan.specialists[name]
    context = ToolContext(root=plan.folders[name], output=plan.state / "output")
    return Hands(build_tools(card.tools, context)) if card.tools else None
