"""The way of one task through a team: its state, its stations, and the graph that they form.

    guard_in → recall → route → specialist ×k → join → guard_out → remember

The only way back is a hand-off from specialist to specialist, bounded by the brief's budget and by the rule that
nobody gets the same brief twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated, Any, Protocol, TypedDict, TypeVar

from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send

from ..core.errors import ConfigError, InputError, MetierError
from ..core.run import Cancelled, Emit, Event, Plain, record, step, timing
from ..core.text import savable
from ..core.types import Answer, Brief, Budget, Handoff, Outcome, Part, Route, Turn, Value
from ..memory.window import ContextualQuery, recall, roll
from .attachments import AttachedFiles
from .composition import compose, unfinished
from .guardrails import Guard
from .journal import emit
from .second_look import Evidence
from .turn_memory import TurnMemory, for_specialist, origin

_log = logging.getLogger("metier")

STATIONS = ("guard_in", "recall", "route", "join", "guard_out", "remember")
"""Names that no specialist can have."""
RECURSION_LIMIT = 40
"""Super-steps a turn may take: far above any legal turn, far below LangGraph's default of 10,007."""

Update = dict[str, Any]
"""Some fields of the state, as a station returns them."""
AnyValue = TypeVar("AnyValue", bound=Value)


def gather(old: list[Plain], new: list[Plain] | None) -> list[Plain]:
    """What parallel specialists write piles up; `None`, written when a turn begins, empties the pile."""
    return [] if new is None else old + new


def add_up(old: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    """Seconds per stage add up over the turn, which begins with `guard_in`."""
    if "guard_in" in new:
        return new
    return old | {stage: old.get(stage, 0.0) + seconds for stage, seconds in new.items()}


class State(TypedDict):
    """What flows along the graph: plain data only (it is saved), and each field is written by one station. `messages`
    and `earlier` are the thread and outlive the turn.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    """Written by the caller (the task is the last message) and by `remember`; `recall` takes the oldest out."""
    earlier: list[Plain]
    """`recall`: the turns that have left `messages`, in short; each a Turn."""
    attached: str | None
    """Name of a specialist that the caller insists on. Written by the caller."""
    given: Plain | None
    """What the caller knows already: {facts, citations, touched} of a `Brief`. Written by the caller."""
    task: Plain
    """`guard_in`: {text, guards, refusal}."""
    recalled: Plain
    """`recall`: {query, window, facts, stated}: the task made self-contained, the turns it refers to (none where it
    stands alone), quotes from long-term memory, and the facts that the task itself states."""
    route: Plain
    """`route`: a Route."""
    outcomes: Annotated[list[Plain], gather]
    """Specialists: {part, answer}; emptied by `guard_in`."""
    seen: Annotated[list[Plain], gather]
    """Specialists: {specialist, brief}, all that each was told; emptied by `guard_in`."""
    joined: Plain
    """`join`: an Answer."""
    timings: Annotated[dict[str, float], add_up]
    """Every station: seconds per stage."""
    answer: Plain
    """`guard_out`: the Answer that leaves."""


TeamGraph = CompiledStateGraph[State, None, State, State]
"""What the stations form."""


class Assignment(TypedDict):
    """What is sent to one specialist."""

    brief: Plain
    part: int
    """Place of this part in the answer."""
    trail: list[str]
    """Who had the brief before, in order."""


class Worker(Protocol):
    """What the graph needs of a specialist."""

    def run(self, brief: Brief, emit: Emit) -> Outcome: ...


class Routes(Protocol):
    """What the graph needs of a router."""

    def route(self, text: str, *, context: Sequence[str] = ()) -> Route: ...


class Offers(Protocol):
    """What the graph needs to know of the workflows among those who work."""

    def goes_on(self, messages: Sequence[AnyMessage]) -> tuple[str, Plain] | None: ...
    def only_when_sure(self, task: str, route: Route, *, barred: bool = False) -> Route: ...


class Nodes:
    """The stations of one team's graph: each is a method from the state to an update of it.

    Args:
        specialists: Who works, by name.
        router: Who decides whose task it is.
        budget: What one turn may spend.
        window: Turns of a thread that are kept as they are.
        guard_in: Looks at the task.
        guard_out: Looks at the answer.
        memory: Long-term memory; left out: none.
        evidence: How much the documents of some specialists speak of a task.
        settle: Weighs a task's route with the documents, given the task and the task made self-contained.
        recall_tokens: Words and marks that the turns may have to which a task refers.
        log_route: Keeps each route: `DecisionLog.add` of this router.
        log_turn: Told of each turn that ends: its task, the specialists' answers, and the one that leaves.
        files: The files that came with the conversation; left out: none.
        offers: The workflows among `specialists`; left out: none.
    """

    def __init__(
        self,
        specialists: Mapping[str, Worker],
        router: Routes,
        *,
        budget: Budget,
        window: int,
        guard_in: Guard,
        guard_out: Guard,
        memory: TurnMemory | None = None,
        evidence: Evidence = lambda task, names: dict.fromkeys(names, 0.0),
        settle: Callable[[str, str, Route], Route] = lambda task, query, route: route,
        recall_tokens: int = 400,
        log_route: Callable[..., str] | None = None,
        log_turn: Callable[[str, Sequence[Plain], Plain], None] | None = None,
        files: AttachedFiles | None = None,
        offers: Offers | None = None,
    ) -> None:
        self.specialists, self.router, self.budget = specialists, router, budget
        self.window, self.recall_tokens = window, recall_tokens
        self._guard_in, self._guard_out = guard_in, guard_out
        self._memory, self._evidence, self._log_route = memory or TurnMemory(None), evidence, log_route
        self._settle, self._log_turn = settle, log_turn
        self._files, self._offers = files, offers

    def guard_in(self, state: State) -> Command:
        """Look at the task before anybody works on it; one that is refused goes straight to `join`."""
        verdict = self._guard_in(_task(state))
        for name, did in verdict.acted.items():
            emit(Event(name="guard", data={"guard": name, "did": did, "side": "in"}))
        update = {
            "task": {"text": verdict.text, "guards": verdict.acted, "refusal": verdict.refusal},
            "outcomes": None,  # empties the piles, see `gather`
            "seen": None,
        }
        return Command(update=update, goto="join" if verdict.refusal else "recall")

    def recall(self, state: State) -> Update:
        """Take from the thread what the task refers to, and from long-term memory what bears on it."""
        task = state["task"]["text"]
        kept, leaving = _split(state["messages"][:-1], self.window)
        earlier = [Turn.model_validate(turn) for turn in state.get("earlier", [])] if self.window else []
        if self.window and leaving:
            earlier = roll(earlier, _turns(leaving))
        turns = [*earlier, *_turns(kept)]
        # Whether a task refers back is asked here and nowhere else; the first of a thread has nothing to refer to.
        context = recall(task, turns, tokens=self.recall_tokens) if turns else ContextualQuery(task)
        facts = self._memory.recall(task, context.query)
        if context.window or facts:
            emit(Event(name="recall", data={"query": context.query, "facts": [fact["text"] for fact in facts]}))
        return {
            "recalled": {
                "query": context.query,
                "window": [turn.model_dump() for turn in context.window],
                "facts": facts,
                "stated": self._memory.stated(task),
            },
            "earlier": [turn.model_dump() for turn in earlier],
            "messages": [RemoveMessage(id=message.id) for message in leaving if message.id],
        }

    def route(self, state: State) -> Command:
        """Ask the router who should work, and send each its part; a specialist that the caller named wins."""
        task, named = state["task"]["text"], state.get("attached")
        if named:
            part = Part(specialist=named, text=task)
            route = Route(decision="one", parts=(part,), confidence=1.0, reason="named by the caller")
        elif asked := self._replied(state):
            part = Part(specialist=asked[0], text=task)
            route = Route(decision="one", parts=(part,), confidence=1.0, reason="the reply to its question")
        else:
            context = [turn["text"] for turn in state["recalled"]["window"] if turn["role"] == "user"]
            route = self.router.route(task, context=context)
            if self._log_route:
                self._log_route(task, route, context=context, origin=origin())
            if route.decision != "abstain" or not self._memory.answer(task, state["recalled"], route):
                route = self._settle(task, state["recalled"]["query"], route)
            if self._files:
                route = self._files.route(task, state["recalled"]["query"], route)
            if self._offers:  # a step of a workflow asks specialists: it cannot begin the workflow again
                route = self._offers.only_when_sure(task, route, barred=state.get("given") is not None)
            if route.parts and self._for_memory(state, route):
                route = route.model_copy(update={"decision": "abstain", "parts": (), "reason": "for the memory"})
        plain = _plain(route)
        emit(Event(name="route", data=plain))
        return Command(update={"route": plain}, goto=self._sends(state, route) or "join")

    def _replied(self, state: State) -> tuple[str, Plain] | None:
        """The workflow that had asked back, and what it knows with the reply."""
        return self._offers.goes_on(state["messages"]) if self._offers else None

    def _for_memory(self, state: State, route: Route) -> bool:
        """Do the user's own words speak more of the task than the documents of those who were chosen?"""
        task, names = state["task"]["text"], [part.specialist for part in route.parts]
        return self._memory.comes_first(task, state["recalled"], lambda: max(self._evidence(task, names).values()))

    def _sends(self, state: State, route: Route) -> list[Send]:
        """Each part for its specialist; none when nobody was chosen."""
        briefs = [_plain(self._brief(state, route, part)) for part in route.parts]
        return [
            Send(part.specialist, Assignment(brief=brief, part=place, trail=[]))
            for place, (part, brief) in enumerate(zip(route.parts, briefs, strict=True))
        ]

    def _brief(self, state: State, route: Route, part: Part) -> Brief:
        alone, recalled = len(route.parts) == 1 or route.decision == "surest", state["recalled"]
        window = tuple(Turn.model_validate(turn) for turn in recalled["window"]) if alone else ()
        query = recalled["query"] if alone else part.text
        given, replied = state.get("given") or {}, self._replied(state)
        return Brief(
            task=part.text,
            query=query,
            passages=self._files.passages(query) if self._files else (),
            facts=(*given.get("facts", ()), *for_specialist(recalled["facts"], part.specialist)),
            citations=given.get("citations", ()),
            window=window,
            touched=tuple(sorted({*given.get("touched", ()), *(touch for turn in window for touch in turn.touched)})),
            colleagues={c.name: c.probability for c in route.choices if c.name != part.specialist},
            budget=_share(self.budget, len(route.parts)),
            hops=given.get("hops", 1),
            parameters=replied[1] if replied and replied[0] == part.specialist else {},
        )

    def specialist(self, name: str) -> Callable[[Assignment], Command]:
        """The station of one specialist: answer, or hand the brief on to a colleague who had not seen it."""

        def work(assignment: Assignment) -> Command:
            trail = [*assignment["trail"], name]
            seen = [{"specialist": name, "brief": assignment["brief"]}]
            with step("specialist", name) as note:
                outcome = self._outcome(name, Brief.model_validate(assignment["brief"]))
                note(**_known(outcome))
            if isinstance(outcome, Handoff) and outcome.name in trail:
                used, spent = outcome.usage, outcome.timings
                outcome = unfinished([*trail, outcome.name], outcome.brief)
                outcome = outcome.model_copy(update={"usage": used, "timings": spent})
            if isinstance(outcome, Handoff):
                passed = Assignment(brief=_plain(outcome.brief), part=assignment["part"], trail=trail)
                return Command(update={"seen": seen}, goto=Send(outcome.name, passed))
            answer = outcome.model_copy(update={"handoffs": tuple(trail) if len(trail) > 1 else ()})
            outcomes = [{"part": assignment["part"], "answer": _plain(answer)}]
            return Command(update={"outcomes": outcomes, "seen": seen}, goto="join")

        return work

    def _outcome(self, name: str, brief: Brief) -> Outcome:
        """What the specialist gives; its error is its abstention, and the other parts go on."""
        try:
            return self.specialists[name].run(brief, emit)
        except MetierError as error:
            text = f"I could not work on this: {error.message}"
            return _abstention(name, text, f"{type(error).__name__}: {error.message}", broken=True)
        except (GraphBubbleUp, Cancelled):  # a question to a person; the end that somebody wanted
            raise
        except Exception as error:  # a style, tool or agent of somebody else may raise anything
            _log.exception("%s failed", name)
            text = f"I could not work on this: {error}"
            return _abstention(name, text, f"{type(error).__name__}: {error}", broken=True)

    def join(self, state: State) -> Update:
        """One answer out of the specialists' outcomes."""
        if refusal := state["task"]["refusal"]:
            return {"joined": _plain(Answer(text=refusal, kind="abstain", reason=refusal))}
        outcomes = sorted(state.get("outcomes", []), key=lambda outcome: outcome["part"])
        answers = [Answer.model_validate(outcome["answer"]) for outcome in outcomes]
        route = _read(state, "route", Route)
        own = None if answers else self._memory.answer(state["task"]["text"], state["recalled"], route)
        return {"joined": _plain(own or compose(route, answers, state["task"]["text"]))}

    def guard_out(self, state: State) -> Update:
        """Look at the answer before it leaves."""
        answer = _read(state, "joined", Answer)
        acted = state["task"]["guards"] | answer.guards
        for call in answer.tool_calls:
            acted |= call.guards
        if answer.kind == "answer":
            verdict = self._guard_out(answer.text, citations=answer.citations)
            acted |= verdict.acted
            if refusal := verdict.refusal:
                left = {"text": refusal, "kind": "abstain", "citations": (), "reason": refusal, "data": None}
                answer = answer.model_copy(update=left)
            else:
                answer = answer.model_copy(update={"text": verdict.text})
        return {"answer": _plain(answer.model_copy(update={"guards": acted}))}

    def remember(self, state: State) -> Update:
        """The answer joins the thread; what the task says is noted."""
        if not state["task"]["refusal"]:
            self._memory.note(state["task"]["text"], state["recalled"])
        answer = {**state["answer"], "timings": state["timings"]}
        if self._log_turn:
            self._log_turn(state["task"]["text"], [one["answer"] for one in state.get("outcomes", [])], answer)
        emit(Event(name="answer", specialist=answer["specialist"], data=answer))
        message = AIMessage(content=answer["text"], name="metier", response_metadata={"metier": _slim(answer)})
        return {"messages": [message]}


def _known(outcome: Outcome) -> dict[str, Any]:
    """What a trace shows of it."""
    spent = {"input_tokens": outcome.usage.input_tokens, "output_tokens": outcome.usage.output_tokens}
    if isinstance(outcome, Handoff):
        return {"handoff": outcome.name, **spent}
    return {"version": outcome.version, "answer": outcome.kind, "confidence": outcome.confidence, **spent}


def _read(state: State, field: str, kind: type[AnyValue]) -> AnyValue:
    """A field of the state as the value that its station wrote."""
    return kind.model_validate(state[field])


def _plain(value: Value) -> Plain:
    """A value as the state holds it."""
    return value.model_dump(mode="json")


def _task(state: State) -> str:
    messages = state.get("messages") or []
    if not messages or messages[-1].type != "human":
        raise InputError("the last message is not a task", hint='pass {"messages": [("user", "…")]}')
    return savable(str(messages[-1].text))


def _split(messages: Sequence[AnyMessage], window: int) -> tuple[Sequence[AnyMessage], Sequence[AnyMessage]]:
    """The last `window` turns, and those before them."""
    tasks = [number for number, message in enumerate(messages) if message.type == "human"]
    start = 0 if len(tasks) <= window else tasks[-window] if window else len(messages)
    return messages[start:], messages[:start]


def _turns(messages: Sequence[AnyMessage]) -> list[Turn]:
    return [
        Turn(
            role="user" if message.type == "human" else "assistant",
            text=str(message.text),
            touched=message.response_metadata.get("metier", {}).get("touched", ()),
        )
        for message in messages
        if message.type in ("human", "ai")
    ]


def _share(budget: Budget, parts: int) -> Budget:
    """Parallel parts share steps and tokens; time runs for all of them at once."""
    return budget.model_copy(update={"steps": max(1, budget.steps // parts), "tokens": budget.tokens // parts})


def _abstention(specialist: str, text: str, reason: str, *, broken: bool = False) -> Answer:
    return Answer(text=text, kind="abstain", specialist=specialist, reason=reason, broken=broken)


def _slim(answer: Plain) -> Plain:
    """What the thread keeps of an answer: enough to show it again, without the route's details."""
    keep = ("kind", "specialist", "version", "citations", "confidence", "reason", "handoffs", "touched")
    # What a workflow asked for, so that the reply finds it.
    asked = {"data": answer["data"]} if answer["kind"] == "clarify" and answer["data"] else {}
    return {**{name: answer[name] for name in keep}, **asked}


def compile_graph(
    nodes: Nodes,
    handoffs: dict[str, list[str]],
    *,
    name: str,
    checkpointer: BaseCheckpointSaver | None = None,
) -> TeamGraph:
    """A LangGraph graph that reads and writes `messages`, so that it fits as a node into any other graph.

    Args:
        nodes: The stations.
        handoffs: Specialist to the colleagues that its card allows; these are the edges.
        name: The team's name.
        checkpointer: Where threads are saved; None when a parent graph does it.

    Raises:
        ConfigError: a specialist has the name of a station.
    """
    taken = set(STATIONS) & set(nodes.specialists)
    if taken:
        raise ConfigError(f"specialist name is taken by the graph: {', '.join(sorted(taken))}", hint="rename it")
    graph = StateGraph(State)
    ways = {"guard_in": ("recall", "join"), "route": (*nodes.specialists, "join")}
    for station in STATIONS:
        work = _timed(getattr(nodes, station), station)
        graph.add_node(station, work, defer=station == "join", destinations=ways.get(station))
    for specialist in nodes.specialists:
        ends = (*handoffs.get(specialist, ()), "join")
        graph.add_node(specialist, _timed(nodes.specialist(specialist)), destinations=ends)
    graph.add_edge(START, "guard_in")
    graph.add_edge("recall", "route")
    graph.add_edge("join", "guard_out")
    graph.add_edge("guard_out", "remember")
    graph.add_edge("remember", END)
    return graph.compile(checkpointer=checkpointer, name=name)


def _timed(station: Callable[[Any], Any], stage: str | None = None) -> Any:
    """The station, with its seconds written into the state: in all under `stage`, and under the stages inside it."""

    def run(state: Any) -> Any:
        with record() as timings, timing(stage) if stage else nullcontext():
            update = station(state)
        if isinstance(update, Command):
            return replace(update, update={**(update.update or {}), "timings": timings})
        return {**update, "timings": timings}

    return run
