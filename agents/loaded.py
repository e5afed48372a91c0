"""Who works in a team at present: what a build, a promotion or a new card replaces, as a whole."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Generic, Protocol, TypeVar

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver

from ..core.embedding import Embedder
from ..core.errors import InputError, MetierError
from ..core.files import writable
from ..core.models import ModelStore
from ..core.run import Emit, Plain, ignore
from ..core.text import savable
from ..core.types import Answer, Brief, Budget, Route
from ..router.features import Example
from ..router.report import Explanation
from ..router.router import Router
from ..specialists.adapters.choose import Adapter, adapter_version, on_server
from ..specialists.engines import Engine
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.specialist import Specialist
from .answer_log import AnswerLog
from .assemble import (
    BuildRecord,
    Runtime,
    adapter_of,
    decisions,
    engine_name,
    find_bases,
    guards_embedder,
    limited,
    open_knowledge,
    open_specialist,
)
from .attachments import AttachedFiles, Attachments
from .canary import OnTrial, Trial, Trials, adapter_on_trial
from .cards import Blueprint, fingerprint
from .engines import open_engines, retire_published
from .graph import Nodes, TeamGraph, Worker, compile_graph
from .guardrails import build_guards
from .journal import EMIT
from .second_look import Documents
from .threads import Threads
from .turn_memory import TurnMemory
from .workflows.chat import RunInChat
from .workflows.files import read_plans
from .workflows.perform import known_of
from .workflows.plan import Plan
from .workflows.store import OfferedWorkflow, PlanStore, guesser

_log = logging.getLogger(__name__)

_MOST_PARTS = 64
"""Different parts of a team that are kept, for those who may see only some of it."""


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
    answers: AnswerLog | None = None
    """Where it is noted how turns ended; None for a team that logs nothing."""
    trials: Trials | None = None
    """Challengers that answer a share of the conversations."""


class LoadedTeam:
    """The specialists on their engine, the router, and the graph whose stations they are. Made by `open`."""

    def __init__(
        self,
        plan: Blueprint,
        shared: Shared,
        specialists: dict[str, Specialist],
        documents: Documents,
        router: Callable[[], Router],
        engines: Mapping[str, Engine],
        resources: ExitStack,
        made_of: str = "",
        on_trial: Mapping[str, OnTrial] | None = None,
    ) -> None:
        self.plan, self.stamp = plan, made_of
        self.on_trial = dict(on_trial or {})
        self.specialists, self.engines = specialists, engines
        self._documents, self._make_router = documents, router
        self._shared, self._resources = shared, resources
        self.partial = frozenset[str]()
        """Specialists of whose documents some are hidden here."""
        self._parts, self._lock = OrderedDict[frozenset[str], LoadedTeam](), threading.Lock()

    @classmethod
    def open(cls, plan: Blueprint, shared: Shared) -> LoadedTeam:
        """Load a team that was built: the one place where router, specialists, tools and memory meet.

        Raises:
            ConfigError: a card is wrong.
            StateError, ModelNotPulled: what was built is damaged; the base is not on this machine.
        """
        made_of = stamp(plan, shared.trials)  # First: what changes while it is loaded is for the next refresh.
        bases = {} if shared.engine else find_bases(plan, shared.store)
        adapters = {name: _adapter(plan, name, shared.engine) for name in plan.specialists}
        tried = _tried(plan, shared)
        wanted = [*adapters.items(), *((name, adapter) for name, (_, adapter) in tried.items())]
        with ExitStack() as undo:
            if shared.engine:
                engines = dict.fromkeys(plan.bases, shared.engine)
            else:
                loaded = [(name, engine_name(plan, name, adapter, bases)) for name, adapter in wanted]
                engines = undo.enter_context(open_engines(plan, bases, loaded))
                retire_published(plan, loaded, engines.values())
            runtime = Runtime(shared.embedder, bases, engines, shared.threads.ledger)
            specialists: dict[str, Specialist] = {}
            for name, card in plan.specialists.items():
                knowledge = open_knowledge(plan, name, shared.embedder) if card.knowledge else None
                if knowledge:
                    undo.enter_context(closing(knowledge))
                specialists[name] = open_specialist(plan, name, runtime, knowledge, adapters[name])
            on_trial = _on_trial(plan, shared, runtime, specialists, tried, undo)
            documents = Documents(specialists)
            router = shared.router or Router.load(plan.state / "router", shared.embedder).with_second_look(
                documents.of_those_who_have_some, documents.words
            )
            resources = undo.pop_all()
            return cls(
                plan, shared, specialists, documents, lambda: router, engines, resources, made_of, on_trial=on_trial
            )

    @property
    def engine(self) -> Engine:
        """What runs the team's base, for what no specialist does; where none works with that, the first one's."""
        return self.engines.get(self.plan.card.base) or next(iter(self.engines.values()))

    @property
    def router(self) -> Router:
        """Who decides whose task it is."""
        return self._router

    @cached_property
    def _router(self) -> Router:
        return self._make_router()

    @cached_property
    def workflows(self) -> dict[str, Plan]:
        """The workflows beside the team's card that the specialists of this part can do, by name."""
        plans, usable = dict[str, Plan](), read_plans(self.plan.root)
        while len(plans) != len(usable):  # one that runs another needs that one, too
            plans = usable
            known = known_of(self, plans)
            usable = {n: one for n, one in plans.items() if not any(fault.blocking for fault in one.check(known))}
        return usable

    @cached_property
    def offers(self) -> PlanStore:
        """The workflows that the router has learnt."""
        plans = {name: plan for name, plan in self.workflows.items() if name in getattr(self.router, "names", ())}
        guess, run = guesser(self.engine), RunInChat(self, self.workflows)
        return PlanStore({name: OfferedWorkflow(plan, run, guess=guess) for name, plan in plans.items()})

    def seen_by(self, groups: Collection[str] | None) -> LoadedTeam:
        """The part of the team that somebody of these groups may use; None: all of it.

        Specialists and documents that are not for them are taken out before anything is ranked: no router, graph or
        cache of the part ever knew of them. It is open as long as the whole.
        """
        rules = (*self.plan.card.access.values(), *(card.groups for card in self.plan.specialists.values()))
        if groups is None or not any(rules):
            return self
        known = frozenset(groups) & {group for rule in rules for group in rule}
        with self._lock:
            part = self._parts.pop(known, None) or self._part(known)
            self._parts[known] = part
            while len(self._parts) > _MOST_PARTS:
                self._parts.popitem(last=False)
        return part

    def _part(self, groups: frozenset[str]) -> LoadedTeam:
        plan = self.plan.seen_by(groups)
        held = {name: self.specialists[name].knowledge for name in plan.specialists}
        unseen = {
            name: {d.source for d in knowledge.documents() if plan.hides(d.source, groups)}
            for name, knowledge in held.items()
            if knowledge
        }
        if plan is self.plan and not any(unseen.values()):
            return self
        runtime = Runtime(self._shared.embedder, {}, self.engines, self._shared.threads.ledger)
        seen = {name: _without(knowledge, unseen.get(name, ())) for name, knowledge in held.items()}
        people = {name: limited(self.specialists[name], plan, runtime, seen[name]) for name in plan.specialists}
        on_trial = {
            name: one.limited(people[name], limited(one.challenger, plan, runtime, seen[name]))
            for name, one in self.on_trial.items()
            if name in people
        }
        documents = Documents(people)

        def router() -> Router:
            names = [*people, *part.workflows]
            if not people or type(self.router) is not Router:
                return _OnlyAmong(self.router, names)
            learnt = any(example.kind == "document" for example in self.router.data.examples)
            texts = _texts(held, unseen) if learnt else ()
            names = [name for name in names if name in self.router.names]
            return self.router.only(names, texts).with_second_look(documents.of_those_who_have_some, documents.words)

        part = LoadedTeam(
            plan, self._shared, people, documents, router, self.engines, ExitStack(), self.stamp, on_trial=on_trial
        )
        part.partial = frozenset(name for name, sources in unseen.items() if sources)
        return part

    @property
    def blueprint(self) -> Blueprint:
        """All cards, and where their files are."""
        return self.plan

    @property
    def threads(self) -> Threads:
        """Where conversations and runs are saved."""
        return self._shared.threads

    @property
    def workers(self) -> dict[str, Worker]:
        """Whom the router chooses among: specialists, and workflows that it has learnt."""
        return {**self.specialists, **self.offers.offered}

    def take(self, brief: Brief, specialist: str | None = None, *, emit: Emit = ignore) -> Answer:
        """Work on a brief as a part of a run that somebody else keeps; see `Team.take`."""
        known = brief.model_dump(mode="json", include={"facts", "citations", "touched", "hops"})
        given: Any = {"messages": [HumanMessage(savable(brief.task))], "attached": specialist, "given": known}
        return whole_answer(self.inner.invoke(given, {"configurable": {EMIT: emit}}))

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
        kept_log = card.router.log and writable(self.plan.state) and not isinstance(self.router, _OnlyAmong)
        return Nodes(
            {**self.specialists, **self.on_trial, **self.offers.offered},
            self.router,
            budget=Budget(**card.budget.model_dump(exclude={"tool_seconds"})),
            window=card.memory.window,
            recall_tokens=card.memory.recall_tokens,
            guard_in=build_guards(card.guardrails, "in", embedder, [self.plan.root]),
            guard_out=build_guards(card.guardrails, "out", embedder, [self.plan.root]),
            memory=self._shared.memory,
            evidence=documents.evidence,
            settle=partial(documents.settle, read=self.router.route),
            files=AttachedFiles(self._shared.attachments, readers, documents.evidence),
            offers=self.offers if self.offers.offered else None,
            log_route=partial(decisions(self.plan).add, self.router) if kept_log else None,
            log_turn=self._log_turn if self._shared.answers else None,
        )

    def _log_turn(self, task: str, parts: Sequence[Plain], answer: Plain) -> None:
        if self._shared.answers:
            self._shared.answers.add(task, answer)
        for trial in self.on_trial.values():
            trial.note(parts, answer)

    def close(self) -> None:
        """Free the model and close the files."""
        self._resources.close()


def _without(knowledge: Knowledge | None, unseen: Collection[str]) -> Knowledge | None:
    if knowledge is None or not unseen:
        return knowledge
    return knowledge.only({document.source for document in knowledge.documents()} - {*unseen})


def _texts(held: Mapping[str, Knowledge | None], sources: Mapping[str, Collection[str]]) -> set[str]:
    """The passages of some documents."""
    asked = [(knowledge, source) for name, knowledge in held.items() if knowledge for source in sources.get(name, ())]
    return {passage.text for knowledge, source in asked for passage in knowledge.passages(source)}


class _OnlyAmong(Router):
    """A router of somebody's own, or none at all, for those who may know of some specialists only."""

    def __init__(self, router: Router, names: Sequence[str]) -> None:
        self._router, self._known = router, names

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._known)

    def explain(self, text: str, *, context: Sequence[str] = (), attachments: Sequence[str] = ()) -> Explanation:
        raise InputError("this router does not say why it decides as it does")

    def held_out_routes(self) -> list[tuple[Example, Route]]:
        return []

    def route(self, text: str, *, context: Sequence[str] = (), attachments: Sequence[str] = ()) -> Route:
        nobody = Route(decision="abstain", reason="nobody on this team does that")
        if not self._known:
            return nobody
        route = self._router.route(text, context=context, attachments=attachments)
        choices = tuple(choice for choice in route.choices if choice.name in self._known)
        if {*route.candidates, *(part.specialist for part in route.parts)} <= {*self._known}:
            return route.model_copy(update={"choices": choices})
        return nobody.model_copy(update={"choices": choices})


def whole_answer(state: Mapping[str, Any]) -> Answer:
    """The answer that a turn's graph left, with the seconds of its stations."""
    return Answer.model_validate({**state["answer"], "timings": state["timings"]})


def _adapter(plan: Blueprint, name: str, engine: Engine | None) -> Adapter:
    """The adapter that a specialist works with; with an engine that was given, the card's where the engine has it."""
    if engine is None:
        return adapter_of(plan, name)
    named = on_server(plan.specialists[name])
    return named if named in engine.adapters else None


def _tried(plan: Blueprint, shared: Shared) -> dict[str, tuple[Trial, Adapter]]:
    """The trials that are running, and their adapters. One that cannot be loaded is ended, and the team still opens."""
    found = dict[str, tuple[Trial, Adapter]]()
    for trial in shared.trials.running() if shared.trials else ():
        try:
            found[trial.specialist] = trial, adapter_on_trial(plan, trial, shared.engine)
        except MetierError as error:
            _log.warning("the trial of '%s' is over: %s", trial.specialist, error)
            if shared.trials:
                shared.trials.stop(trial.specialist, why=error.message)
    return found


def _on_trial(
    plan: Blueprint,
    shared: Shared,
    runtime: Runtime,
    specialists: Mapping[str, Specialist],
    tried: Mapping[str, tuple[Trial, Adapter]],
    undo: ExitStack,
) -> dict[str, OnTrial]:
    """Those who are on trial beside what is in use. Shadow answers that still wait are dropped when the team closes."""
    found, later = dict[str, OnTrial](), None
    if any(trial.shadow for trial, _ in tried.values()):
        later = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        undo.callback(later.shutdown, wait=True, cancel_futures=True)
    for name, (trial, adapter) in tried.items():
        assert shared.trials is not None
        knowledge = specialists[name].knowledge
        challenger = open_specialist(plan, name, runtime, knowledge, adapter, classifier=False, dry=trial.shadow)
        found[name] = OnTrial(trial, shared.trials, specialists[name], challenger, later)
    return found


def stamp(plan: Blueprint, trials: Trials | None = None) -> str:
    """Tells states of a team apart without loading anything: cards, the last build, adapters in use and on trial."""
    cards = [plan.card.model_dump(), *(card.model_dump() for card in plan.specialists.values())]
    manifest = BuildRecord.read(plan.state)
    adapters = {name: adapter_version(adapter_of(plan, name)) for name in plan.specialists}
    tried = [trial.id for trial in trials.running()] if trials else []
    return fingerprint(cards, manifest.model_dump() if manifest else None, adapters, *tried)


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
            unused = [thing for thing in self._open if thing is not self._thing and not self._users[id(thing)]]
            self._open = [thing for thing in self._open if thing not in unused]
        for thing in unused:
            thing.close()
