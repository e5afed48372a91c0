"""The stations of a turn. Each is a method `State -> update`; what they need is given once, when the graph is built.

They are plain functions: LangGraph runs them in threads for asynchronous callers, and the model's engine lets go of
Python's lock while it computes, so there is no second, asynchronous copy of anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage
from langgraph.config import get_stream_writer
from langgraph.types import Command, Send

from ..core.errors import InputError, MetierError
from ..core.events import Emit, Event
from ..core.types import Answer, Brief, Budget, Handoff, Outcome, Part, Route, Turn
from ..memory.window import recall, roll
from .guardrails import Guard
from .join import join
from .memories import Memories, for_specialist
from .state import Desk, Plain, State, Update


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
            Send(part.specialist, Desk(brief=brief.model_dump(mode="json"), part=i, trail=[]))
            for i, (part, brief) in enumerate(zip(route.parts, briefs, strict=True))
        ]

    def specialist(self, name: str) -> Callable[[Desk], Command]:
        """The station of one specialist: answer, or hand the brief on to a colleague who had not seen it."""

        def work(desk: Desk) -> Command:
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
                passed = Desk(brief=outcome.brief.model_dump(mode="json"), part=desk["part"], trail=trail)
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
