"""The graph of one turn, drawn as it runs.

    guard_in → recall → route → specialist ×k → join → guard_out → remember

The only way back is a hand-off from specialist to specialist, bounded by the brief's budget and by the rule that
nobody gets the same brief twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated, Any, Protocol, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send

from ..core.errors import ConfigError, InputError, MetierError
from ..core.run import Emit, Event, Plain, record, timing
from ..core.types import Answer, Brief, Budget, Handoff, Outcome, Part, Route, Turn, Usage
from ..memory.window import recall, roll
from .guardrails import Guard
from .memories import Memories, for_specialist

# Several outcomes, one answer.


def join(route: Route, answers: Sequence[Answer]) -> Answer:
    """Pass a single answer through; put several under each other, every citation kept.

    Args:
        route: How the task was split.
        answers: One a part, in the order of the parts; empty when the router chose nobody.
    """
    if not answers:
        return _nobody(route)
    if len(answers) == 1:
        return answers[0].model_copy(update={"route": route})
    good = [a for a in answers if a.kind == "answer"]
    return Answer(
        text="\n".join(f"{a.specialist}: {a.text}" for a in answers),
        kind="answer" if good else "abstain",
        specialist=", ".join(dict.fromkeys(a.specialist or "" for a in answers)),
        version=", ".join(dict.fromkeys(a.version or "" for a in answers)),
        citations=tuple(c for a in answers for c in a.citations),
        confidence=min((a.confidence for a in good), default=0.0),
        reason="; ".join(a.reason for a in answers if a.reason),
        data=[a.data for a in answers] if any(a.data is not None for a in answers) else None,
        tool_calls=tuple(t for a in answers for t in a.tool_calls),
        touched=tuple(sorted({touch for a in answers for touch in a.touched})),
        route=route,
        handoffs=tuple(name for a in answers for name in a.handoffs),
        guards={name: did for a in answers for name, did in a.guards.items()},
        usage=sum((a.usage for a in answers), Usage()),
    )


def _nobody(route: Route) -> Answer:
    """Nobody was chosen: say why, or ask which of the candidates is meant."""
    if route.decision == "clarify":
        names = " or ".join(route.candidates)
        text = f"Do you mean something for {names}?"
        return Answer(text=text, kind="clarify", reason=route.reason, confidence=route.confidence, route=route)
    text = "Nobody on this team can answer that."
    return Answer(text=text, kind="abstain", reason=route.reason, confidence=route.confidence, route=route)


# The state of one turn. Plain data only (it is checkpointed), and each field is written by one node.


Update = dict[str, Any]
"""Some fields of the state, as a station returns them."""


def gather(old: list[Plain], new: list[Plain] | None) -> list[Plain]:
    """What parallel specialists write piles up; `None`, written when a turn begins, empties the pile."""
    return [] if new is None else old + new


def add_up(old: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    """Seconds per stage add up over the turn, which begins with `guard_in`."""
    if "guard_in" in new:
        return new
    return old | {stage: old.get(stage, 0.0) + seconds for stage, seconds in new.items()}


class State(TypedDict):
    """What flows along the graph; `messages` and `earlier` are the thread and outlive the turn."""

    messages: Annotated[list[AnyMessage], add_messages]
    """Written by the caller (the task is the last message) and by `remember`; `recall` takes the oldest out."""
    earlier: list[Plain]
    """`recall`: the turns that have left `messages`, in short; each a Turn."""
    attached: str | None
    """Name of a specialist that the caller insists on. Written by the caller."""
    task: Plain
    """`guard_in`: {text, guards, refusal}."""
    recalled: Plain
    """`recall`: {query, window, facts}; facts are quotes from long-term memory."""
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


class Assignment(TypedDict):
    """What is sent to one specialist."""

    brief: Plain
    part: int
    """Place of this part in the answer."""
    trail: list[str]
    """Who had the brief before, in order."""


# The stations of a turn. Each is a method `State -> update`; what they need is given once, when the graph is built.


class Worker(Protocol):
    """What the graph needs of a specialist."""

    def run(self, brief: Brief, emit: Emit) -> Outcome: ...


class Routes(Protocol):
    """What the graph needs of a router."""

    def route(self, text: str, *, context: Sequence[str] = ()) -> Route: ...


class Nodes:
    """All stations of one team's graph."""

    def __init__(
        self,
        specialists: Mapping[str, Worker],
        router: Routes,
        *,
        budget: Budget,
        window: int,
        guard_in: Guard,
        guard_out: Guard,
        memories: Memories | None = None,
        evidence: Callable[[str, Sequence[str]], float] = lambda task, names: 1.0,
        recall_tokens: int = 400,
    ) -> None:
        self.specialists, self.router, self.budget = specialists, router, budget
        self.window, self.recall_tokens = window, recall_tokens
        self._guard_in, self._guard_out = guard_in, guard_out
        self._memories, self._evidence = memories or Memories(None), evidence

    def guard_in(self, state: State) -> Update:
        """Look at the task before anybody works on it."""
        verdict = self._guard_in(_task(state))
        for name, did in verdict.acted.items():
            _emit(Event(name="guard", data={"guard": name, "did": did, "side": "in"}))
        return {
            "task": {"text": verdict.text, "guards": verdict.acted, "refusal": verdict.refusal},
            "outcomes": None,  # empties the piles, see `gather`
            "seen": None,
        }

    def recall(self, state: State) -> Update:
        """Take from the thread what the task refers to, and from long-term memory what bears on it."""
        kept, gone = _split(state["messages"][:-1], self.window)
        earlier = roll([Turn.model_validate(t) for t in state.get("earlier", [])], _turns(gone)) if self.window else []
        found = recall(state["task"]["text"], [*earlier, *_turns(kept)], tokens=self.recall_tokens)
        said = self._memories.recall(state["task"]["text"], found.query)
        if found.window or said:
            _emit(Event(name="recall", data={"query": found.query, "facts": [one["text"] for one in said]}))
        return {
            "recalled": {"query": found.query, "window": [t.model_dump() for t in found.window], "facts": said},
            "earlier": [t.model_dump() for t in earlier],
            "messages": [RemoveMessage(id=m.id) for m in gone if m.id],
        }

    def route(self, state: State) -> Update:
        """Ask the router who should work; a specialist that the caller named wins."""
        named = state.get("attached")
        if named:
            part = Part(specialist=named, text=state["task"]["text"])
            route = Route(decision="one", parts=(part,), confidence=1.0, reason="named by the caller")
        else:
            route = self._asked(self.router.route(state["task"]["text"], context=_context(state)), state)
        _emit(Event(name="route", data=route.model_dump(mode="json")))
        return {"route": route.model_dump(mode="json")}

    def _asked(self, route: Route, state: State) -> Route:
        """The route, or nobody where the user's own words speak more of the task than any document."""
        task, names = state["task"]["text"], [part.specialist for part in route.parts]
        evidence = self._evidence(task, names) if names else 0.0
        if not names or not self._memories.comes_first(task, state["recalled"]["facts"], evidence):
            return route
        return route.model_copy(update={"decision": "abstain", "parts": (), "reason": "for the memory"})

    def dispatch(self, state: State) -> list[Send] | str:
        """Send each part to its specialist; straight to `join` when nobody was chosen."""
        route = Route.model_validate(state["route"])
        if not route.parts:
            return "join"
        briefs = [self._brief(state, route, part) for part in route.parts]
        return [
            Send(part.specialist, Assignment(brief=brief.model_dump(mode="json"), part=i, trail=[]))
            for i, (part, brief) in enumerate(zip(route.parts, briefs, strict=True))
        ]

    def specialist(self, name: str) -> Callable[[Assignment], Command]:
        """The station of one specialist: answer, or hand the brief on to a colleague who had not seen it."""

        def work(desk: Assignment) -> Command:
            trail = [*desk["trail"], name]
            brief = Brief.model_validate(desk["brief"])
            seen = [{"specialist": name, "brief": desk["brief"]}]
            try:
                outcome = self.specialists[name].run(brief, _emit)
            except MetierError as error:
                outcome = Answer(text=f"I could not work on this: {error.message}", kind="abstain", specialist=name,
                                 reason=f"{type(error).__name__}: {error.message}")  # fmt: skip
            if isinstance(outcome, Handoff) and outcome.name in trail:
                circle = " → ".join([*trail, outcome.name])
                outcome = Answer(
                    text="I do not know.", kind="abstain", specialist=name, reason=f"going round: {circle}"
                )
            if isinstance(outcome, Handoff):
                passed = Assignment(brief=outcome.brief.model_dump(mode="json"), part=desk["part"], trail=trail)
                return Command(update={"seen": seen}, goto=Send(outcome.name, passed))
            done = outcome.model_copy(update={"handoffs": tuple(trail) if len(trail) > 1 else ()})
            outcome_in = {"part": desk["part"], "answer": done.model_dump(mode="json")}
            return Command(update={"outcomes": [outcome_in], "seen": seen}, goto="join")

        return work

    def join(self, state: State) -> Update:
        """One answer out of the specialists' outcomes."""
        if refusal := state["task"]["refusal"]:
            return {"joined": Answer(text=refusal, kind="abstain", reason=refusal).model_dump(mode="json")}
        outcomes = sorted(state.get("outcomes", []), key=lambda o: o["part"])
        answers = [Answer.model_validate(o["answer"]) for o in outcomes]
        route = Route.model_validate(state["route"])
        answer = join(route, answers)
        if not answers:
            answer = self._memories.answer(state["task"]["text"], state["recalled"]["facts"], route) or answer
        return {"joined": answer.model_dump(mode="json")}

    def guard_out(self, state: State) -> Update:
        """Look at the answer before it leaves."""
        answer = Answer.model_validate(state["joined"])
        acted = state["task"]["guards"] | answer.guards
        for call in answer.tool_calls:
            acted |= call.guards
        if answer.kind == "answer":
            verdict = self._guard_out(answer.text, citations=answer.citations)
            acted |= verdict.acted
            if verdict.refusal:
                answer = answer.model_copy(update={"text": verdict.refusal, "kind": "abstain", "citations": (),
                                                   "reason": verdict.refusal, "data": None})  # fmt: skip
            else:
                answer = answer.model_copy(update={"text": verdict.text})
        return {"answer": answer.model_copy(update={"guards": acted}).model_dump(mode="json")}

    def remember(self, state: State) -> Update:
        """The answer joins the thread; what the task says is noted."""
        if not state["task"]["refusal"]:
            self._memories.note(state["task"]["text"])
        answer = {**state["answer"], "timings": state["timings"]}
        _emit(Event(name="answer", specialist=answer["specialist"], data=answer))
        message = AIMessage(content=answer["text"], name="metier", response_metadata={"metier": _slim(answer)})
        return {"messages": [message]}

    def _brief(self, state: State, route: Route, part: Part) -> Brief:
        alone = len(route.parts) == 1
        recalled = state["recalled"]
        window = tuple(Turn.model_validate(t) for t in recalled["window"]) if alone else ()
        return Brief(
            task=part.text,
            query=recalled["query"] if alone else part.text,
            facts=for_specialist(recalled["facts"], part.specialist),
            window=window,
            touched=tuple(sorted({touch for turn in window for touch in turn.touched})),
            colleagues={n: p for n, p in route.probabilities.items() if n != part.specialist},
            budget=_share(self.budget, len(route.parts)),
        )


def _share(budget: Budget, parts: int) -> Budget:
    """Parallel parts share steps and tokens; time runs for all of them at once."""
    return budget.model_copy(update={"steps": max(1, budget.steps // parts), "tokens": budget.tokens // parts})


def _task(state: State) -> str:
    messages = state.get("messages") or []
    if not messages or messages[-1].type != "human":
        raise InputError("the last message is not a task", hint='pass {"messages": [("user", "…")]}')
    return str(messages[-1].text)


def _split(messages: Sequence[AnyMessage], window: int) -> tuple[Sequence[AnyMessage], Sequence[AnyMessage]]:
    """The last `window` turns, and those before them."""
    tasks = [number for number, message in enumerate(messages) if message.type == "human"]
    start = 0 if len(tasks) <= window else tasks[-window] if window else len(messages)
    return messages[start:], messages[:start]


def _turns(messages: Sequence[AnyMessage]) -> list[Turn]:
    return [
        Turn(
            role="user" if m.type == "human" else "assistant",
            text=str(m.text),
            touched=m.response_metadata.get("metier", {}).get("touched", ()),
        )
        for m in messages
        if m.type in ("human", "ai")
    ]


def _context(state: State) -> list[str]:
    return [t["text"] for t in state["recalled"]["window"] if t["role"] == "user"]


def _slim(answer: Plain) -> Plain:
    """What the thread keeps of an answer: enough to show it again, without the route's details."""
    keep = ("kind", "specialist", "version", "citations", "confidence", "reason", "handoffs", "touched")
    return {name: answer[name] for name in keep}


def _emit(event: Event) -> None:
    get_stream_writer()(event)


STATIONS = ("guard_in", "recall", "route", "join", "guard_out", "remember")
"""Names that no specialist can have."""


RECURSION_LIMIT = 40
"""Super-steps a turn may take: far above any legal turn, far below LangGraph's default of 10,007."""


def compile_graph(
    nodes: Nodes,
    handoffs: dict[str, list[str]],
    *,
    name: str,
    checkpointer: BaseCheckpointSaver | None = None,
) -> CompiledStateGraph:
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
    for station in STATIONS:
        graph.add_node(station, _timed(getattr(nodes, station), station), defer=station == "join")
    for specialist in nodes.specialists:
        ends = (*handoffs.get(specialist, ()), "join")
        graph.add_node(specialist, _timed(nodes.specialist(specialist)), destinations=ends)
    graph.add_edge(START, "guard_in")
    graph.add_conditional_edges("guard_in", _refused, {"join": "join", "recall": "recall"})
    graph.add_edge("recall", "route")
    graph.add_conditional_edges("route", nodes.dispatch, [*nodes.specialists, "join"])
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


def _refused(state: State) -> str:
    return "join" if state["task"]["refusal"] else "recall"
