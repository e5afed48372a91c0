"""The graph of a plan: each step is a node; a loop sends its items to a node of their own, and joins them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore
from time import perf_counter
from typing import Annotated, Any, Protocol, TypedDict

import networkx as nx
from langgraph.config import get_config
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send

from ...core.errors import InputError, unknown
from ...core.run import Event, Plain, check_cancelled, ignore
from ...memory.records import Records
from ...memory.store import Owner
from ...tools.policy import Approve, Respond
from ..journal import listener
from .perform import Colleagues, Making, Replan, StepFailed, ask_on_failure, noted, perform
from .plan import AskStep, EachStep, Plan, Step, SubStep
from .results import Data, Failed, File, Items, ResultValue, Skipped, StepResult, Table, Text, of_value, read_result
from .steps import read_parameters, step_graph
from .template import fill, fill_all, uses

LIMIT = 100_000
"""Super-steps of a graph: none of ours can go in circles."""
RUNNING = "__metier_run"
"""Of LangGraph's `configurable`: the run that a node works for."""
_LOOP_PARTS = (".turn", ".end")
"""How the nodes of a loop are called after its name."""


class Around(Protocol):
    """What a graph needs of its workflow."""

    team: Colleagues | None
    workflows: dict[str, Plan]
    replan: Replan | None
    records: Records

    def compiled(self, plan: Plan, path: str = "", *, straight: bool = False) -> Any: ...


def _merge(old: dict[str, Plain], new: dict[str, Plain]) -> dict[str, Plain]:
    return {**old, **new} if new else old


def _add(old: Plain, new: Plain) -> Plain:
    """Usage and seconds by step add up."""
    seconds = dict(old.get("seconds", {}))
    for name, value in new.get("seconds", {}).items():
        seconds[name] = seconds.get(name, 0.0) + value
    counts = {name: old.get(name, 0) + new.get(name, 0) for name in ("input_tokens", "output_tokens", "calls")}
    return {**counts, "seconds": seconds}


class _State(TypedDict):
    """What flows along a plan's graph; plain data where it is saved."""

    scope: Plain
    """Parameters, and for the steps of a loop the item and the results outside; written when the graph begins."""
    results: Annotated[dict[str, Any], _merge]
    """By step; each step writes its own."""
    turns: Annotated[dict[str, Any], _merge]
    """By loop and number of the item: the results of its steps."""
    spent: Annotated[Plain, _add]
    """Tokens, calls and seconds by step."""
    stopped: Annotated[bool, operator.or_]
    """A step failed that must not: nothing begins any more."""


class _Turn(TypedDict):
    """What is sent to one turn of a loop."""

    scope: Plain
    number: int
    spent: Plain


class Compiler:
    """Makes the graph of a plan. Each graph (the plan's, a loop's, a sub-workflow's) has its own compiler."""

    def __init__(self, workflow: Around, plan: Plan, path: str = "", steps: Mapping[str, Step] | None = None) -> None:
        self._workflow, self._plan, self._path = workflow, plan, path
        self._steps = plan.steps if steps is None else steps

    def graph(self) -> StateGraph[_State]:
        """The steps as nodes; who uses whom as edges."""
        graph = StateGraph(_State)
        edges = step_graph(self._steps)
        for name, step in self._steps.items():
            if isinstance(step, EachStep):
                self._add_loop(graph, name, step)
            else:
                graph.add_node(name, partial(self._work, name, step))
        for name in self._steps:
            before = [self._end(one) for one in self._steps if edges.has_edge(one, name)]
            graph.add_edge(before or START, name)
        return graph

    def _end(self, name: str) -> str:
        return f"{name}.end" if isinstance(self._steps[name], EachStep) else name

    def _add_loop(self, graph: StateGraph[_State], name: str, step: EachStep) -> None:
        turn, end = (f"{name}{part}" for part in _LOOP_PARTS)
        body = self._body(name, step).graph().compile()
        graph.add_node(name, partial(self._begin_loop, name, step), destinations=(turn, end))
        graph.add_node(turn, partial(self._turn, name, step, body))
        graph.add_node(end, partial(self._end_loop, name, step))
        graph.add_edge(turn, end)

    def _body(self, name: str, step: EachStep) -> Compiler:
        return Compiler(self._workflow, self._plan, f"{self._path}{name}.", step.steps)

    def straight(self) -> _Straight:
        """The steps one after another, without a graph."""
        place = {name: number for number, name in enumerate(self._steps)}
        levels = nx.topological_generations(step_graph(self._steps))
        order = [name for level in levels for name in sorted(level, key=place.__getitem__)]
        return _Straight([self._alone(name, self._steps[name]) for name in order])

    def _alone(self, name: str, step: Step) -> Callable[[_State], list[Plain]]:
        """What a step writes, those of a loop's turns among it."""
        if not isinstance(step, EachStep):
            return lambda state: [self._work(name, step, state)]
        body = self._body(name, step).straight()

        def loop(state: _State) -> list[Plain]:
            begun = self._begin_loop(name, step, state)
            sends = begun.goto if isinstance(begun.goto, list) else []
            updates = [self._turn(name, step, body, send.arg) for send in sends if isinstance(send, Send)]
            inner: Any = {**state, "turns": {**state["turns"]}, "results": {**state["results"]}}
            _write(inner, *([begun.update] if begun.update else []), *updates)
            return [*([begun.update] if begun.update else []), *updates, self._end_loop(name, step, inner)]

        return loop

    @property
    def _run(self) -> Running:
        return get_config()["configurable"][RUNNING]  # pyright: ignore[reportTypedDictNotRequiredAccess]

    # What the nodes do.

    def _work(self, name: str, step: Step, state: _State) -> Plain:
        if name in state["results"] or state["stopped"]:
            return {}
        start = perf_counter()
        self._tell(name, step, "begun")
        making = self._making(step, state)
        result, spent = self._settled(name, step, making, state)
        return self._written(name, step, result, spent, start)

    def _written(self, name: str, step: Step, result: StepResult, spent: Plain, start: float) -> Plain:
        seconds = perf_counter() - start
        self._tell(name, step, {"skipped": "skipped", "failed": "failed"}.get(result.kind, "done"), result, seconds)
        own = {"seconds": {f"{self._path}{name}": seconds}}
        stopped = isinstance(result, Failed)
        return {"results": {name: self._run.pack(result)}, "spent": _add(spent, own), "stopped": stopped}

    def _settled(self, name: str, step: Step, making: Making, state: _State) -> tuple[StepResult, Plain]:
        """The result under the step's policy for failures, and what was spent on it besides time."""
        spent: Plain = {}
        try:
            if over := self._over_budget(state):
                return Failed(reason=over), spent
            if step.when is not None and not fill(step.when, making.scope):
                return Skipped(reason=f"{step.when} is false"), spent
            if isinstance(step, SubStep):
                return self._sub(name, step, making, spent)
            if step.on_failure == "ask":
                return self._until_decided(name, step, making), _usage(making)
            with self._run.places:
                return perform(name, step, making), _usage(making)
        except InputError as error:  # of `when`
            failure = StepFailed(error.message)
        except StepFailed as error:
            failure = error
        return self._failed(name, step, making, failure, _add(spent, _usage(making)))

    def _failed(
        self, name: str, step: Step, making: Making, failure: StepFailed, spent: Plain
    ) -> tuple[StepResult, Plain]:
        reason = str(failure)
        kept: dict[str, Any] = {"nearest": failure.nearest, "touched": failure.touched}
        if step.on_failure == "replan" and isinstance(step, AskStep) and self._workflow.replan:
            planned = noted(partial(self._planned, step, making, failure))
            if planned["plan"] is not None:
                plan = Plan.model_validate(planned["plan"])
                result, more = self._nested(name, plan, {}, spent)
                if not isinstance(result, Failed | Skipped):
                    return result, more
                return Skipped(reason=f"{reason}; planned anew: {result.reason}", **kept), more
        if step.on_failure == "fail":
            return Failed(reason=reason), spent
        return Skipped(reason=reason, **kept), spent

    def _planned(self, step: AskStep, making: Making, failure: StepFailed) -> Plain:
        assert self._workflow.replan
        task = str(fill(step.task, making.scope))
        plan = self._workflow.replan(step, task, failure.answer)
        return {"plan": plan.model_dump(mode="json") if plan else None}

    def _until_decided(self, name: str, step: Step, making: Making) -> StepResult:
        while True:
            outcome = noted(partial(self._outcome, name, step, making))
            if "result" in outcome:
                return read_result(outcome["result"])
            self._tell(name, step, "waiting")
            decided = ask_on_failure(name, outcome["failed"])
            if isinstance(decided, Respond):
                return of_value(decided.message)
            if not isinstance(decided, Approve):
                return Skipped(reason=f"{outcome['failed']}; a person left it out")

    def _outcome(self, name: str, step: Step, making: Making) -> Plain:
        """A step's result or its failure, to be noted."""
        try:
            with self._run.places:
                return {"result": perform(name, step, making).model_dump(mode="json")}
        except StepFailed as error:
            return {"failed": error.told}

    def _sub(self, name: str, step: SubStep, making: Making, spent: Plain) -> tuple[StepResult, Plain]:
        plan = self._workflow.workflows.get(step.workflow)
        if plan is None:
            raise StepFailed(unknown("workflow", step.workflow, self._workflow.workflows))
        try:
            given = {n: _plain_value(v) for n, v in fill_all(step.arguments, making.scope).items()}
            parameters = read_parameters(given, plan.parameters)
        except InputError as error:
            raise StepFailed(error.message) from error
        result, spent = self._nested(name, plan, parameters, spent)
        if isinstance(result, Failed):
            return self._failed(name, step, making, StepFailed(result.reason), spent)
        return result, spent

    def _nested(self, name: str, plan: Plan, parameters: Plain, spent: Plain) -> tuple[StepResult, Plain]:
        """Another plan inside this run."""
        graph = self._workflow.compiled(plan, f"{self._path}{name}.", straight=self._run.straight)
        scope = {**{n: {"plain": v} for n, v in parameters.items()}, "today": {"plain": self._run.today}}
        left: Any = graph.invoke(begun(scope), {"recursion_limit": LIMIT})
        results = {one: self._run.unpack(value) for one, value in left["results"].items()}
        failed = next((f"{one}: {r.reason}" for one, r in results.items() if isinstance(r, Failed)), None)
        result = Failed(reason=failed) if failed else results[plan.outcome]
        return result, _add(spent, left["spent"])  # pyright: ignore[reportReturnType]

    def _begin_loop(self, name: str, step: EachStep, state: _State) -> Command[Any]:
        end = f"{name}.end"
        if name in state["results"] or state["stopped"]:
            return Command(goto=end)
        start = perf_counter()
        self._tell(name, step, "begun")
        making = self._making(step, state)
        listed = self._listed(step, making, state)
        if not isinstance(listed, list):
            failed = isinstance(listed, Failed) and step.on_failure != "fail" and not self._over_budget(state)
            result = Skipped(reason=listed.reason) if failed else listed
            return Command(update=self._written(name, step, result, {}, start), goto=end)
        inner = frozenset().union(*(one.names() for one in step.steps.values()))
        everything = {**state["scope"], **{one: {"result": value} for one, value in state["results"].items()}}
        outside = {n: v for n, v in everything.items() if n in inner or n == "today"}
        sends = [
            Send(f"{name}.turn", _Turn(scope={**outside, step.name: {"plain": item}}, number=n, spent=state["spent"]))
            for n, item in enumerate(listed[: step.at_most])
        ]
        turns = {f"{name}/of": len(listed)}
        return Command(update={"turns": turns}, goto=sends or end)

    def _listed(self, step: EachStep, making: Making, state: _State) -> list[Any] | Skipped | Failed:
        """The list that a loop goes over; why there is none."""
        try:
            if over := self._over_budget(state):
                return Failed(reason=over)
            if step.when is not None and not fill(step.when, making.scope):
                return Skipped(reason=f"{step.when} is false")
            for used in sorted(uses(step.for_each).names):
                if isinstance(gone := making.results.get(used), Skipped):
                    return Skipped(reason=f"'{used}' was left out: {gone.reason}")
            value = fill(step.for_each, making.scope)
        except InputError as error:
            return Failed(reason=error.message)
        items = _items(value)
        return Failed(reason=f"'{step.for_each}' gives no list: {str(value)[:60]}") if items is None else items

    def _turn(self, name: str, step: EachStep, body: CompiledStateGraph[Any] | _Straight, sent: _Turn) -> Plain:
        left: Any = body.invoke(begun(sent["scope"], sent["spent"]), {"recursion_limit": LIMIT})
        item = {step.name: self._run.pack(Data(value=sent["scope"][step.name]["plain"])), **left["results"]}
        ordered = {one: item[one] for one in (step.name, *step.steps) if one in item}
        spent = _less(left["spent"], sent["spent"])
        return {"turns": {f"{name}/{sent['number']}": ordered}, "spent": spent}

    def _end_loop(self, name: str, step: EachStep, state: _State) -> Plain:
        if name in state["results"] or f"{name}/of" not in state["turns"]:
            return {}
        count = state["turns"][f"{name}/of"]
        kept = min(count, step.at_most or count)
        turns = [state["turns"][f"{name}/{n}"] for n in range(kept)]
        items = tuple({one: self._run.unpack(value) for one, value in turn.items()} for turn in turns)
        failed = next(
            (f"{one}: {r.reason}" for item in items for one, r in item.items() if isinstance(r, Failed)), None
        )
        result: StepResult = Items(items=items, more=count - kept)  # pyright: ignore[reportArgumentType]
        if failed and step.on_failure == "fail":
            result = Failed(reason=failed)
        elif failed:
            result = Items(items=tuple(map(_without_failures, items)), more=count - kept)
        self._tell(name, step, "failed" if isinstance(result, Failed) else "done", result)
        return {"results": {name: self._run.pack(result)}, "stopped": isinstance(result, Failed)}

    # What they share.

    def _making(self, step: Step, state: _State) -> Making:
        run, results, given = self._run, state["results"], state["scope"]
        scope = dict[str, Any]()
        for name in step.names():
            if name in results:
                scope[name] = run.unpack(results[name])
            elif name in given:
                scope[name] = run.value(given[name])
        return Making(scope, self._workflow.team, run.folder, run.owner, self._workflow.records)

    def _over_budget(self, state: _State) -> str:
        budget, spent = self._plan.budget, state["spent"]
        tokens = spent.get("input_tokens", 0) + spent.get("output_tokens", 0)
        if tokens > budget.tokens:
            return f"the plan's budget of {budget.tokens} tokens is used up"
        seconds = perf_counter() - self._run.start
        return f"the plan's {budget.seconds:g} s are used up" if seconds > budget.seconds else ""

    def _tell(self, name: str, step: Step, state: str, result: ResultValue | None = None, seconds: float = 0.0) -> None:
        check_cancelled()
        tell = listener()
        if tell is ignore:
            return
        data = {"step": f"{self._path}{name}", "kind": step.kind, "state": state, "seconds": seconds}
        if isinstance(result, Skipped | Failed):
            data["reason"] = result.reason
        tell(Event(name="step", data=data))


class _Straight:
    """Steps one after another in one thread: what the graph does, for a run that nobody will have to go on with.

    LangGraph takes longer over a step than most steps do over their work; a file of rows has millions of them.
    """

    def __init__(self, steps: Sequence[Callable[[_State], list[Plain]]]) -> None:
        self._steps = steps

    def invoke(self, given: Any, config: Any = None) -> _State:
        """The state after all steps, as a graph's `invoke`."""
        state: Any = {**given, "results": {**given["results"]}}
        for step in self._steps:
            _write(state, *step(state))
        return state


def _write(state: Any, *updates: Plain) -> None:
    for update in updates:
        state["results"].update(update.get("results", {}))
        state["turns"].update(update.get("turns", {}))
        state["spent"] = _add(state["spent"], update.get("spent", {}))
        state["stopped"] = state["stopped"] or update.get("stopped", False)


def _usage(making: Making) -> Plain:
    return making.usage.model_dump()


def begun(scope: Plain, spent: Plain | None = None, results: Plain | None = None) -> Any:
    """The state with which a graph begins."""
    return {"scope": scope, "results": results or {}, "turns": {}, "spent": spent or {}, "stopped": False}


def is_failed(result: Any) -> bool:
    """Is a result, as the state holds it, a failure?"""
    return isinstance(result, Failed) or (isinstance(result, dict) and result["kind"] == "failed")


def _without_failures(item: Mapping[str, StepResult]) -> dict[str, StepResult]:
    return {name: Skipped(reason=one.reason) if isinstance(one, Failed) else one for name, one in item.items()}


def _less(whole: Plain, part: Plain) -> Plain:
    """What was spent since."""
    negative = {name: -part.get(name, 0) for name in ("input_tokens", "output_tokens", "calls")}
    spent = _add(whole, {**negative, "seconds": {n: -s for n, s in part.get("seconds", {}).items()}})
    return {**spent, "seconds": {n: s for n, s in spent["seconds"].items() if s > 0}}


def _items(value: Any) -> list[Any] | None:
    match value:
        case Table(rows=rows):
            return [*rows]
        case Items(items=items):
            return [{n: _plain_value(r) for n, r in item.items()} for item in items]
        case Data(value=list() as inner):
            return inner
        case list() | tuple():
            return [_plain_value(one) for one in value]
    return None


def _plain_value(value: Any) -> Any:
    """A result as JSON can say it: a number as a number, text as text."""
    match value:
        case Text(text=text):
            return str(text)
        case Table(rows=rows):
            return [*rows]
        case Items():
            return _items(value)
        case File(path=path):
            return path
        case Skipped():
            return None
        case ResultValue():
            return getattr(value, "value", str(value))
        case list() | tuple():
            return [_plain_value(one) for one in value]
        case dict():
            return {name: _plain_value(one) for name, one in value.items()}
    return str(value) if isinstance(value, str) else value


class Running:
    """What all graphs of one run have in common.

    Args:
        saved: Its state is saved, and must be plain data.
        straight: Its steps come one after another.
        parallel: So many of its steps may be at work at once, those of loops and of other workflows inside it counted.
    """

    def __init__(
        self, folder: Path, owner: Owner, today: str, *, saved: bool, straight: bool = False, parallel: int = 1
    ) -> None:
        self.folder, self.owner, self.today, self.saved, self.straight = folder, owner, today, saved, straight
        self.places = BoundedSemaphore(parallel)
        self.start = perf_counter()

    def pack(self, result: ResultValue) -> Any:
        """A result as the state holds it."""
        return result.model_dump(mode="json") if self.saved else result

    def unpack(self, held: Any) -> StepResult:
        """A result out of the state."""
        return read_result(held) if isinstance(held, dict) else held

    def value(self, entry: Plain) -> Any:
        """What templates see of an entry of the scope."""
        return self.unpack(entry["result"]) if "result" in entry else entry["plain"]
