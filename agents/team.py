"""The team: the one object a caller needs. What it is put together from at present is a `LoadedTeam`.

team = Team.load("plant")
answer = team.ask("How often is the carousel bearing greased?", thread_id="shift-1")
"""

from __future__ import annotations

import asyncio
import shlex
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from copy import copy
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, overload
from uuid import uuid4

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.types import Command, StateSnapshot
from pydantic import BaseModel

from ..core.background import in_thread
from ..core.embedding import Embedder
from ..core.errors import ConfigError, StateError, unknown
from ..core.files import saying_full
from ..core.models import ModelStore
from ..core.onnx_embedder import load_embedder
from ..core.run import Emit, Event, ignore
from ..core.runnable import as_tool, task_of
from ..core.text import savable
from ..core.types import Answer, Brief, Route, Turn
from ..memory.store import Owner
from ..router.router import Router
from ..specialists.card import SpecialistCard
from ..specialists.engines import Engine
from ..specialists.specialist import Specialist
from ..tools.policy import Decision
from .answer_log import AnswerLog, log_records
from .assemble import BuildRecord
from .attachments import Attachments
from .build import build
from .canary import Trials
from .cards import Blueprint, TeamCard
from .feedback import Note, Rating, note_of, open_inbox
from .graph import STATIONS, TeamGraph
from .journal import EMIT, graph_place
from .loaded import Current, LoadedTeam, Shared, stamp, whole_answer
from .threads import SINGLE, Unfinished, check_name, open_threads
from .turn import TeamTurn, TurnPlace
from .turn_memory import open_turn_memory


class Team(Runnable[LanguageModelInput, Answer]):
    """Specialists, router, memory and guardrails, compiled into one LangGraph graph.

    Use it as a context manager, or call `close` at the end; the model's memory is freed then.

    It is a LangChain Runnable from a text or messages to an `Answer`; `stream` gives events, the last of which holds
    the answer. Inside another LangGraph graph it is part of that graph's run: the graph saves its state, and where a
    person must decide, the graph is interrupted.
    """

    def __init__(
        self, source: Path | str | Blueprint, shared: Shared, loaded: LoadedTeam, resources: ExitStack
    ) -> None:
        """Made by `load` and `of`."""
        self.threads, self.facts = shared.threads, shared.memory.facts
        self.attachments, self.answers, self.trials = shared.attachments, shared.answers, shared.trials
        self._source, self._shared, self._resources = source, shared, resources
        self._current = Current(loaded)
        self._groups: frozenset[str] | None = None
        self._inbox, self._refreshing = open_inbox(loaded.plan), threading.Lock()

    @classmethod
    def load(
        cls,
        folder: Path | str | Blueprint,
        *,
        store: ModelStore | None = None,
        engine: Engine | None = None,
        embedder: Embedder | None = None,
        router: Router | None = None,
    ) -> Team:
        """Open a team that was built.

        Args:
            folder: Where `team.yaml` is, or the cards themselves.
            store: Where models are; left out: the user's cache.
            engine: Runs the language model instead of what the card names: any object with the methods of `Engine`, a
                `ScriptedEngine` say. A specialist has the adapter on its card where the engine names it, else none. It
                stays open when the team is closed.
            embedder: Instead of the one that the card names; the team must be built with the same.
            router: Instead of the one that was built. A team without documents needs no build then.

        Raises:
            ConfigError: a card is wrong.
            StateError, ModelNotPulled: the team is not built; its models are not on this machine.
        """
        plan, store = _built(folder, router), store or ModelStore()
        embedder = embedder or load_embedder(plan.card.embedder, store)
        with ExitStack() as undo:
            undo.enter_context(saying_full(f"team '{plan.card.name}' could not be opened"))
            threads = undo.enter_context(closing(open_threads(plan)))
            memory = undo.enter_context(closing(open_turn_memory(plan, embedder)))
            records = log_records(plan)
            answers, trials = (AnswerLog(plan, records, embedder), Trials(plan, records)) if records else (None, None)
            if records:
                undo.enter_context(closing(records))
            files = Attachments(plan, embedder)
            shared = Shared(store, embedder, threads, memory, files, engine, router, answers, trials)
            return cls(folder, shared, LoadedTeam.open(plan, shared), undo.pop_all())

    @classmethod
    def of(
        cls,
        name: str,
        *specialists: SpecialistCard,
        folder: Path | str = ".",
        engine: Engine | str | None = None,
        **card: Any,
    ) -> Team:
        """Declare, build and open a team in Python.

        Args:
            name: The team's name.
            specialists: Their cards; paths in them start at `folder`.
            folder: Where documents are found and the build is kept.
            engine: As in the card, or an object as in `load`.
            card: Other fields of `team.yaml`, such as `base` or `guardrails`.
        """
        if isinstance(engine, str):
            card["engine"], engine = engine, None
        team = TeamCard(name=name, specialists=list(dict.fromkeys(s.name for s in specialists)), **card)
        plan = Blueprint.of(team, specialists, Path(folder).resolve())
        build(plan)
        return cls.load(plan, engine=engine)

    @property
    def card(self) -> TeamCard:
        """What `team.yaml` says."""
        return self.blueprint.card

    @property
    def blueprint(self) -> Blueprint:
        """All cards, and where their files are."""
        return self._loaded.plan

    @contextmanager
    def present(self) -> Iterator[LoadedTeam]:
        """Who works in the team at present, kept open inside the block whatever `refresh` brings meanwhile."""
        with self._current.use() as loaded:
            yield loaded.seen_by(self._groups)

    def seen_by(self, groups: Collection[str] | None) -> Team:
        """The team as somebody of these groups may use it: specialists and documents that are for other groups are not
        there (`groups` on the cards). None: all of it.

        It is the same team, which whoever opened it closes. Build from the whole one: `blueprint` names only what may
        be known of.
        """
        part = copy(self)
        part._groups = None if groups is None else frozenset(groups)
        return part

    @property
    def whole(self) -> bool:
        """Nothing of the team is hidden here."""
        return self._loaded is self._current.thing

    @property
    def _loaded(self) -> LoadedTeam:
        return self._current.thing.seen_by(self._groups)

    @property
    def specialists(self) -> dict[str, Specialist]:
        """Who is on the team, by name."""
        return self._loaded.specialists

    @property
    def router(self) -> Router:
        """Who decides whose task it is."""
        return self._loaded.router

    @property
    def engine(self) -> Engine:
        """What runs the language model."""
        return self._current.thing.engine

    @property
    def embedder(self) -> Embedder:
        """What makes vectors of texts, for router, knowledge and memory."""
        return self._shared.embedder

    @property
    def graph(self) -> TeamGraph:
        """The team as a LangGraph graph without a checkpointer of its own: a node for any graph with `messages`.

        It keeps the specialists of now, whatever `refresh` brings, until the team is closed.
        """
        return self._current.keep().seen_by(self._groups).graph(None)

    def moments(self, thread_id: str, most: int = 1) -> list[StateSnapshot]:
        """The saved states of a conversation as LangGraph shows them, the latest first; empty where there is none.

        Args:
            thread_id: Its name.
            most: How many.
        """
        if self.threads.saver is None:
            return []
        with self.present() as loaded:
            place: RunnableConfig = {"configurable": {"thread_id": thread_id}}
            return list(loaded.saved.get_state_history(place, limit=most))

    def refresh(self) -> tuple[str, ...]:
        """Take over what was built, promoted or rolled back, and what cards say, since the team was loaded.

        Tasks under way are finished by the specialists who began them, and new ones are theirs until the new ones are
        loaded: nobody waits, nothing is dropped. For that time both are in memory. Where nothing changed, nothing is
        loaded.

        Returns:
            The specialists whose version is another one now, or who are new.

        Raises:
            ConfigError: a card is wrong, or says another memory or embedder, which takes a new start of the team.
            StateError: the new state is not built. In all these cases the team goes on as it was.
        """
        with self._refreshing:
            plan, before = _built(self._source, self._shared.router), self._current.thing
            for part in ("memory", "embedder"):
                if getattr(plan.card, part) != getattr(before.plan.card, part):
                    raise ConfigError("this changes only when the team starts anew", field=part, hint="load it again")
            if stamp(plan, self.trials) == before.stamp:
                return ()
            loaded = LoadedTeam.open(plan, self._shared)
            self._current.replace(loaded)
            versions = {name: specialist.version for name, specialist in before.specialists.items()}
            return tuple(n for n, specialist in loaded.specialists.items() if versions.get(n) != specialist.version)

    def ask(
        self,
        task: str,
        *,
        thread_id: str | None = None,
        specialist: str | None = None,
        user: str | None = None,
        tenant: str | None = None,
        history: Sequence[Turn] = (),
        run_id: str | None = None,
        emit: Emit | None = None,
    ) -> Answer:
        """Work on one task.

        Args:
            task: In the user's words.
            thread_id: Conversation that it belongs to. Left out, it belongs to none and leaves none behind, unless it
                waits for a decision or is broken off; its answer can still be given feedback until the next.
            specialist: Skip the router and ask this one.
            user: Whose long-term memory is used; None keeps and recalls nothing of a person.
            tenant: Whom the user belongs to, where several organisations share the team.
            history: Earlier turns of a conversation that the caller keeps; see `stream`.
            run_id: Names the run; left out: a new name.
            emit: Told of every event while the work goes on, from whatever thread does it.

        Returns:
            The answer. Its kind is `waiting` when a person must decide first; see `resume`.

        Raises:
            ConfigError: there is no such specialist.
            InputError: a name that cannot be saved.
            StateError: the thread waits for a decision about its last task, is another user's, or is at work on another
                task for longer than one waits; the disk is full.
        """
        place = TurnPlace(thread_id, run_id, Owner(user, tenant))
        with self._begun(task, history, specialist, place) as turn:
            return turn.answer(emit or ignore)

    @overload
    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Answer: ...
    @overload
    def invoke(
        self, input: Mapping[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, list[AnyMessage]]: ...
    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """`ask` as LangChain calls it.

        Args:
            input: A text, or messages, of which the last is the task and the others are what it may refer to; or a
                graph's state with `messages`: then it gives the message to add to them, as a node does.
            config: `thread_id`, `user_id` and `tenant` of its `configurable` are those of `ask`.
            kwargs: As `ask` takes them.

        Raises:
            InputError: there is no task. Otherwise as `ask`.
        """
        given: Any = input
        work: Any = self._as_node if isinstance(input, Mapping) else self._as_runnable
        return self._call_with_config(partial(work, **kwargs), given, config)

    @overload
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Answer: ...
    @overload
    async def ainvoke(
        self, input: Mapping[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, list[AnyMessage]]: ...
    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """`invoke` for asynchronous callers; the work runs in one thread."""
        return await super().ainvoke(input, config, **kwargs)

    def _as_runnable(self, input: LanguageModelInput, config: RunnableConfig, **more: Any) -> Answer:
        if not graph_place():
            return _answer(self.stream(input, config, **more), None)
        task, history = task_of(input)
        return whole_answer(self._inside([*map(_message, history), HumanMessage(task)], more.get("specialist")))

    def _as_node(self, state: Mapping[str, Any], **more: Any) -> dict[str, list[AnyMessage]]:
        return {"messages": self._inside(state["messages"], more.get("specialist"))["messages"][-1:]}

    def _inside(self, messages: Sequence[AnyMessage], specialist: str | None) -> dict[str, Any]:
        """The state after a turn that is part of the run of another graph, or of none."""
        with self.present() as loaded:
            _check(specialist, loaded)
            given: Any = {"messages": [*messages], "attached": specialist, "given": None}
            return loaded.inner.invoke(given, {"configurable": {EMIT: None}})

    # A chain takes the answer from it; events are for those who ask it directly.
    def stream(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        task: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        thread_id: str | None = None,
        specialist: str | None = None,
        user: str | None = None,
        tenant: str | None = None,
        history: Sequence[Turn] = (),
        run_id: str | None = None,
    ) -> Iterator[Event]:
        """The events of `ask` as they happen; the last one is `answer` or `waiting` and holds the whole `Answer`.

        Args:
            task: In the user's words; or messages, of which the last is the task. Without a thread, the others are
                what it may refer to.
            config: LangChain's: callbacks, tags, and in `configurable` what is left out of the next four.
            thread_id, specialist, user, tenant: As in `ask`.
            history: Earlier turns of a conversation that the caller keeps, oldest first; for a task without a thread.
                What they say was answered counts as text from outside, for anybody may have written it.
            run_id: Names the run; left out: a new name.
        """
        named = (config or {}).get("configurable", {})
        thread_id = thread_id or named.get("thread_id")
        owner = Owner(user or named.get("user_id"), tenant or named.get("tenant"))
        text, before = task_of(task)
        turns = [*history, *(() if thread_id else before)]
        with self._begun(text, turns, specialist, TurnPlace(thread_id, run_id, owner, config or {})) as turn:
            yield from turn.stream()

    @contextmanager
    def _begun(
        self, task: str, history: Sequence[Turn], specialist: str | None, asked: TurnPlace
    ) -> Iterator[TeamTurn]:
        """A turn for which everything is ready; nobody else works in its thread meanwhile."""
        for what, name in (("thread", asked.thread), ("user", asked.owner.user), ("tenant", asked.owner.tenant)):
            check_name(what, name)
        run, text = asked.run or str(uuid4()), savable(task)
        place = asked._replace(thread=asked.thread or f"{SINGLE}{run}", run=run)
        with self.threads.turn(asked.thread) if asked.thread else nullcontext(), self.present() as loaded:
            _check(specialist, loaded)
            if asked.thread:
                self.threads.admit(asked.thread, asked.owner)
            given = {"messages": [*map(_message, history), ("user", text)], "attached": specialist, "given": None}
            yield TeamTurn(self.threads, loaded, given, place, text)

    def take(self, brief: Brief, specialist: str | None = None, *, emit: Emit = ignore) -> Answer:
        """Work on a brief as a part of a run that somebody else keeps: a step of a workflow, which may be in a graph.

        Args:
            brief: Of it count the task, facts, citations, what they touched, and the hops; the budget is the team's.
            specialist: Who; None lets the router choose.
            emit: Told of every event.

        Raises:
            ConfigError: there is no such specialist.
        """
        with self.present() as loaded:
            _check(specialist, loaded)
            return loaded.take(brief, specialist, emit=emit)

    def transform(
        self, input: Iterator[LanguageModelInput], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Answer]:
        """As a part of a chain that is streamed: the answer, once it is whole."""
        yield from RunnableLambda(self.invoke).transform(input, config, **kwargs)

    async def atransform(
        self, input: AsyncIterator[LanguageModelInput], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Answer]:
        """`transform` for asynchronous callers."""
        async for answer in RunnableLambda(self.invoke, self.ainvoke).atransform(input, config, **kwargs):
            yield answer

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """A LangChain tool that asks this team; the artifact of a call is the `Answer`.

        Args:
            name, description: Left out: the team's, with what its specialists are for.
            args_schema, arg_types: LangChain's; the tool takes a `question` in any case.
        """
        able = [f"{person.card.name}: {person.card.description}" for person in self.specialists.values()]
        about = "\n".join([self.card.description or "Asks a team of specialists.", *able])
        return as_tool(self, name or self.card.name, description or about)

    def resume(self, thread_id: str, decisions: Sequence[Decision] = (), *, emit: Emit | None = None) -> Answer:
        """Go on with a task that waits for a person or that was broken off, also in another process.

        Args:
            thread_id: Its conversation.
            decisions: One for each call that waits, in order; none for a task that was broken off.
            emit: Told of every event while the work goes on.

        Raises:
            InputError: more or fewer decisions than calls that wait.
            StateError: nothing is unfinished in that thread, or somebody else went on with it meanwhile.
        """
        with self._going_on(thread_id, decisions) as turn:
            return turn.answer(emit or ignore)

    def stream_on(self, thread_id: str, decisions: Sequence[Decision] = ()) -> Iterator[Event]:
        """The events of `resume`, as `stream` gives those of `ask`.

        Raises:
            InputError: more or fewer decisions than calls that wait.
            StateError: nothing is unfinished in that thread, or somebody else went on with it meanwhile.
        """
        with self._going_on(thread_id, decisions) as turn:
            yield from turn.stream()

    @contextmanager
    def _going_on(self, thread_id: str, decisions: Sequence[Decision]) -> Iterator[TeamTurn]:
        before = self._unfinished(thread_id)
        decided = before.resume(decisions)
        owner = self.threads.owner(thread_id) or Owner(None)
        with self.threads.turn(thread_id), self.present() as loaded:
            left = self.threads.unfinished(thread_id)
            if left is None or left.questions.keys() != before.questions.keys():
                raise StateError(
                    f"somebody else went on with thread '{thread_id}' meanwhile: what you decided was not used",
                    hint=f"metier threads show {shlex.quote(thread_id)}",
                )
            self._check_at_work(loaded, thread_id)
            place = TurnPlace(thread_id, left.run_id, owner)
            yield TeamTurn(self.threads, loaded, Command(resume=decided) if decided else None, place, left.task)

    def _check_at_work(self, loaded: LoadedTeam, thread_id: str) -> None:
        """Is the task of a thread with somebody whom these groups may ask? LangGraph would pass over it in silence."""
        with self._current.use() as whole:
            if loaded is whole:
                return
            at: RunnableConfig = {"configurable": {"thread_id": thread_id}}
            if not {*whole.saved.get_state(at).next} <= {*STATIONS, *loaded.specialists}:
                raise StateError(f"the task of thread '{thread_id}' is with somebody who is not here for you")

    def _unfinished(self, thread_id: str) -> Unfinished:
        left = self.threads.unfinished(thread_id)
        if left is None:
            last = self.threads.find(thread_id)
            why = f"its last task was answered: {last.text[:80]}" if last else "there is no such thread"
            raise StateError(f"nothing is unfinished in thread '{thread_id}': {why}", hint="metier threads list")
        return left

    async def aask(self, task: str, **more: Any) -> Answer:
        """`ask` for asynchronous callers; the work runs in a thread."""
        return await asyncio.to_thread(self.ask, task, **more)

    async def astream(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, task: LanguageModelInput, config: RunnableConfig | None = None, **more: Any
    ) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers; the work runs in one thread, and ends when the caller leaves."""
        async for event in in_thread(lambda: self.stream(task, config, **more)):
            yield event

    def route(self, task: str, *, context: Sequence[str] = ()) -> Route:
        """Who would work on this, without doing it."""
        return self.router.route(savable(task), context=[savable(turn) for turn in context])

    def feedback(self, verdict: Rating, correction: str | None = None, **whom: str | None) -> Note:
        """Say what an answer was worth. Who is meant by `thread_id` and `specialist`, and errors: as `note_of`."""
        right = savable(correction) if correction else correction
        note = note_of(self.threads, self.specialists, verdict, correction=right, **whom)
        with saying_full("the note could not be saved"):
            self._inbox.add(note)
        return note

    def close(self) -> None:
        """Free the model and close the files. The team cannot be used afterwards."""
        self._current.close()
        self._resources.close()

    def __enter__(self) -> Team:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _check(specialist: str | None, loaded: LoadedTeam) -> None:
    if specialist is not None and specialist not in loaded.workers:
        raise ConfigError(unknown("specialist", specialist, loaded.workers))


def _message(turn: Turn) -> AnyMessage:
    if turn.role == "user":
        return HumanMessage(savable(turn.text))
    touched = sorted({*turn.touched, "untrusted"})
    return AIMessage(savable(turn.text), response_metadata={"metier": {"touched": touched}})


def _answer(events: Iterator[Event], emit: Emit | None) -> Answer:
    last = Event(name="answer")
    for last in events:
        if emit:
            emit(last)
    return Answer.model_validate(last.data)


def _built(source: Path | str | Blueprint, router: Router | None) -> Blueprint:
    """The cards as they are now; those of a blueprint never change. They must be built, if anything of them must be."""
    plan = source if isinstance(source, Blueprint) else Blueprint.read(source)
    if router and not any(card.knowledge for card in plan.specialists.values()):
        return plan
    record = BuildRecord.read(plan.state)
    if record is None or set(record.versions) != set(plan.specialists):
        raise StateError(f"team '{plan.card.name}' is not built", hint=f"metier build -t {plan.root}")
    return plan
