"""A plan at work: compiled to one LangGraph graph, its steps side by side where nothing speaks against it.

    run = Workflow(plan, team).run({"site": "North"})

Each step is a node; a loop sends its items to a node of their own, and joins them. What a step gave is saved with the
run, so a run that was broken off, or that waits for a person, goes on where it stood. A step that fails is a value as
well (`Failed`): nothing that was begun beside it is lost, and the outcome does not depend on who was faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from time import perf_counter
from typing import Annotated, Any, Literal, TypedDict
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send
from pydantic import Field

from ...core.errors import ConfigError, InputError, StateError, unknown
from ...core.files import saying_full
from ...core.run import Emit, Event, Plain, check_cancelled, ignore
from ...core.types import Answer, Usage, Value
from ...memory.records import Record, Records
from ...memory.store import Owner
from ...memory.threads import ThreadSaver
from ...tools.policy import ApprovalRequest, Approve, Decision, Respond
from ..journal import EMIT, listener
from ..threads import TURN_SECONDS, WORKFLOW, Unfinished, check_name
from ..turn_memory import configured
from .perform import (
    Colleagues,
    Making,
    Replan,
    StepFailed,
    all_citations,
    ask_on_failure,
    known_of,
    noted,
    perform,
)
from .plan import AskStep, EachStep, Known, Plan, Step, SubStep, ToolStep, step_graph
from .results import Data, Failed, File, Items, ResultValue, Skipped, StepResult, Table, Text, of_value, read_result
from .steps import read_parameters
from .template import fill, fill_all, uses

RunState = Literal["running", "done", "failed", "waiting"]

KIND = "workflow"
"""The kind of the records that hold runs."""
_LIMIT = 100_000
"""Super-steps of a graph: none of ours can go in circles."""
_RUN = "__metier_run"
"""Of LangGraph's `configurable`: the run that a node works for."""
_GO_ON = object()
"""What a run that was broken off goes on with: nothing new."""
_LOOP_PARTS = (".turn", ".end")
"""How the nodes of a loop are called after its name."""


class Trouble(Value):
    """Something that did not go as planned; the run may have gone on without it."""

    step: str
    reason: str


class WorkflowRun(Value):
    """One run of a workflow."""

    run_id: str
    workflow: str
    status: RunState
    """`failed`: a step that must not fail did. `running`: it was broken off and can go on."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    results: dict[str, StepResult] = Field(default_factory=dict)
    """By step, in the order of the plan; those that were not begun are missing."""
    result: StepResult | None = None
    """What the whole gave; None while there is none."""
    trouble: tuple[Trouble, ...] = ()
    """Steps that were left out or failed, and lists that were cut."""
    waiting: ApprovalRequest | None = None
    """What a person must decide before it goes on."""
    usage: Usage = Usage()
    timings: dict[str, float] = Field(default_factory=dict)
    """Seconds by step, all turns of a loop together; `total` is the time since it began or went on."""

    @property
    def thread_id(self) -> str:
        """Under which it is saved."""
        return f"{WORKFLOW}{self.run_id}"

    @property
    def answer(self) -> Answer:
        """The run as an answer, for those who know only tasks and answers."""
        kept: dict[str, Any] = {
            "specialist": self.workflow,
            "thread_id": self.thread_id,
            "run_id": self.run_id,
            "usage": self.usage,
            "timings": self.timings,
            "reason": "; ".join(f"{one.step}: {one.reason}" for one in self.trouble),
        }
        if self.waiting:
            why = "; ".join(action.description for action in self.waiting.action_requests)
            data = self.waiting.model_dump(mode="json")
            return Answer(**{**kept, "reason": why}, text=f"Waiting for a decision: {why}.", kind="waiting", data=data)
        if self.status != "done" or self.result is None:
            return Answer(**kept, text=f"The workflow '{self.workflow}' failed. {kept['reason']}", kind="abstain")
        data = self.result.model_dump(mode="json")
        citations = tuple(dict.fromkeys(all_citations(self.result)))
        return Answer(
            **kept, text=str(self.result), citations=citations, confidence=1.0, data=data, touched=self.result.touched
        )


class PlannedStep(Value):
    """What a dry run says of a step."""

    step: str
    kind: str
    does: str
    """In words, with what is known before."""
    after: tuple[str, ...]
    effect: str = ""
    """`write` or `external` of a tool that changes something; `person` where somebody is asked."""
    at_most: int = 1
    """How often."""


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


class _Turn(TypedDict):
    """What is sent to one turn of a loop."""

    scope: Plain
    number: int
    spent: Plain


class _Compiler:
    """Makes the graph of a plan. Each graph (the plan's, a loop's, a sub-workflow's) has its own compiler."""

    def __init__(self, workflow: Workflow, plan: Plan, path: str = "", steps: Mapping[str, Step] | None = None) -> None:
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
            before = [self._end(one) for one in self._steps if edges.has_edge(one, name)]
            graph.add_edge(before or START, name)
        return graph

    def _end(self, name: str) -> str:
        return f"{name}.end" if isinstance(self._steps[name], EachStep) else name

    def _add_loop(self, graph: StateGraph[_State], name: str, step: EachStep) -> None:
        turn, end = (f"{name}{part}" for part in _LOOP_PARTS)
        body = _Compiler(self._workflow, self._plan, f"{self._path}{name}.", step.steps).graph().compile()
        graph.add_node(name, partial(self._begin_loop, name, step), destinations=(turn, end))
        graph.add_node(turn, partial(self._turn, name, step, body))
        graph.add_node(end, partial(self._end_loop, name, step))
        graph.add_edge(turn, end)

    @property
    def _run(self) -> _Run:
        return get_config()["configurable"][_RUN]  # pyright: ignore[reportTypedDictNotRequiredAccess]

    # What the nodes do.

    def _work(self, name: str, step: Step, state: _State) -> Plain:
        if name in state["results"] or _stopped(state):
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
        return {"results": {name: self._run.pack(result)}, "spent": _add(spent, own)}

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
        if step.on_failure == "replan" and isinstance(step, AskStep) and self._workflow.replan:
            planned = noted(partial(self._planned, step, making, failure))
            if planned["plan"] is not None:
                plan = Plan.model_validate(planned["plan"])
                result, more = self._nested(name, plan, {}, spent)
                if not isinstance(result, Failed | Skipped):
                    return result, more
                return Skipped(reason=f"{reason}; planned anew: {result.reason}"), more
        if step.on_failure == "fail":
            return Failed(reason=reason), spent
        return Skipped(reason=reason), spent

    def _planned(self, step: AskStep, making: Making, failure: StepFailed) -> Plain:
        assert self._workflow.replan
        task = str(fill(step.task, making.scope))
        plan = self._workflow.replan(step, task, failure.answer)
        return {"plan": plan.model_dump(mode="json") if plan else None}

    def _until_decided(self, name: str, step: Step, making: Making) -> StepResult:
        while True:
            outcome = noted(partial(_outcome, name, step, making))
            if "result" in outcome:
                return read_result(outcome["result"])
            self._tell(name, step, "waiting")
            decided = ask_on_failure(name, outcome["failed"])
            if isinstance(decided, Respond):
                return of_value(decided.message)
            if not isinstance(decided, Approve):
                return Skipped(reason=f"{outcome['failed']}; a person left it out")

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
        graph = self._workflow.compiled(plan, f"{self._path}{name}.")
        scope = {**{n: {"plain": v} for n, v in parameters.items()}, "today": {"plain": self._run.today}}
        left: Any = graph.invoke(_begun(scope), {"recursion_limit": _LIMIT})
        results = {one: self._run.unpack(value) for one, value in left["results"].items()}
        failed = next((f"{one}: {r.reason}" for one, r in results.items() if isinstance(r, Failed)), None)
        result = Failed(reason=failed) if failed else results[plan.outcome]
        return result, _add(spent, left["spent"])  # pyright: ignore[reportReturnType]

    def _begin_loop(self, name: str, step: EachStep, state: _State) -> Command[Any]:
        end = f"{name}.end"
        if name in state["results"] or _stopped(state):
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
        outside = {n: v for n, v in self._everything(state).items() if n in inner or n == "today"}
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

    def _turn(self, name: str, step: EachStep, body: CompiledStateGraph[Any], sent: _Turn) -> Plain:
        left: Any = body.invoke(_begun(sent["scope"], sent["spent"]), {"recursion_limit": _LIMIT})
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
        return {"results": {name: self._run.pack(result)}}

    # What they share.

    def _everything(self, state: _State) -> Plain:
        return {**state["scope"], **{name: {"result": one} for name, one in state["results"].items()}}

    def _making(self, step: Step, state: _State) -> Making:
        everything = self._everything(state)
        scope = {name: self._run.value(everything[name]) for name in step.names() if name in everything}
        run = self._run
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


def _outcome(name: str, step: Step, making: Making) -> Plain:
    """A step's result or its failure, to be noted."""
    try:
        return {"result": perform(name, step, making).model_dump(mode="json")}
    except StepFailed as error:
        return {"failed": str(error)}


def _usage(making: Making) -> Plain:
    return making.usage.model_dump()


def _begun(scope: Plain, spent: Plain | None = None, results: Plain | None = None) -> Any:
    return {"scope": scope, "results": results or {}, "turns": {}, "spent": spent or {}}


def _stopped(state: _State) -> bool:
    """Did a step fail that must not? Nothing begins then."""
    return any(_is_failed(one) for one in state["results"].values())


def _is_failed(result: Any) -> bool:
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


class _Run:
    """What all graphs of one run have in common.

    Args:
        saved: Its state is saved, and must be plain data.
    """

    def __init__(self, folder: Path, owner: Owner, today: str, *, saved: bool) -> None:
        self.folder, self.owner, self.today, self.saved = folder, owner, today, saved
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


class Workflow:
    """A plan, and the team that works on it.

    Args:
        plan: What is to be done.
        team: Who does it; None for a plan that asks nobody.
        workflows: Other plans that it may run, by name.
        replan: Takes a question apart that could not be answered, for steps with `on_failure: replan`.
        folder: Where reports are written; left out: a folder of the run's own, beside what the team keeps.

    Raises:
        ConfigError: the plan cannot run; all that is wrong is told at once.
    """

    def __init__(
        self,
        plan: Plan,
        team: Colleagues | None = None,
        *,
        workflows: Mapping[str, Plan] | None = None,
        replan: Replan | None = None,
        folder: Path | str | None = None,
    ) -> None:
        self.plan, self.team, self.workflows, self.replan = plan, team, dict(workflows or {}), replan
        self._folder = Path(folder) if folder else None
        self._graphs = dict[tuple[int, str, bool], tuple[Plan, Any]]()
        self._saver = team.threads.saver if team else None
        self.records = (team.threads.records if team else None) or Records(None)
        self.known = known_of(team, self.workflows) if team else Known(workflows=self.workflows, people=False)
        faults = [fault for fault in plan.check(self.known) if fault.blocking]
        if faults:
            raise ConfigError(f"workflow '{plan.name}' cannot run:\n" + "\n".join(map(str, faults)))

    def run(
        self,
        parameters: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        *,
        emit: Emit = ignore,
        user: str | None = None,
        tenant: str | None = None,
        durable: bool = True,
    ) -> WorkflowRun:
        """Do it.

        Args:
            parameters: As the plan names them; texts are read as their types say.
            run_id: Its name; left out: a new one.
            emit: Told of every event: `step` for each step, and those of whoever is asked.
            user, tenant: Who asks.
            durable: Save each step, so that the run goes on after a crash, and people can be asked. Not so, it is
                quicker, leaves nothing behind, and begins anew.

        Raises:
            InputError: a parameter is missing or wrong; a name that cannot be saved.
            StateError: there is a run of this name; the disk is full.
            Cancelled: it was called off.
        """
        values = read_parameters(parameters or {}, self.plan.parameters)
        name = run_id or str(uuid4())
        check_name("run", name)
        if durable and self.records.get(KIND, name):
            raise StateError(f"there is a run '{name}' already", hint="resume it, or take another name")
        scope = {"today": date.today().isoformat(), **values}
        return self._go(name, self.plan, scope, Owner(user, tenant), {}, emit, durable=durable)

    def resume(self, run_id: str, decisions: Sequence[Decision] = (), *, emit: Emit = ignore) -> WorkflowRun:
        """Go on with a run that waits for a person, or that was broken off, also in another process.

        It goes on with the plan with which it began; steps that were done are not done again.

        Args:
            run_id: Its name.
            decisions: One for each call that waits, in order; none for one that was broken off.

        Raises:
            InputError: more or fewer decisions than calls that wait.
            StateError: there is no such run, or it is over.
        """
        record = self._record(run_id)
        before = WorkflowRun.model_validate(record.body["run"])
        if before.status in ("done", "failed"):
            raise StateError(f"run '{run_id}' is over: it is {before.status}", hint=f"metier runs replay {run_id}")
        plan = Plan.model_validate(record.body["plan"])
        return self._go(run_id, plan, before.parameters, record.owner, {}, emit, decisions=decisions)

    def replay(self, run_id: str, from_step: str, *, to: str | None = None, emit: Emit = ignore) -> WorkflowRun:
        """Run the plan as it is now once more, from a step on: that step, all that use it, and all that changed since
        are done anew; of the others the earlier results count.

        Args:
            run_id: The earlier run.
            from_step: The first step to do again.
            to: Name of the new run; left out: a new one.

        Raises:
            InputError: the plan has no such step.
            StateError: there is no such run.
        """
        if from_step not in self.plan.steps:
            raise InputError(unknown("step", from_step, self.plan.steps))
        record = self._record(run_id)
        before, old = WorkflowRun.model_validate(record.body["run"]), Plan.model_validate(record.body["plan"])
        known = {one: value for one, value in before.parameters.items() if one in self.plan.parameters}
        parameters = {"today": before.parameters.get("today", ""), **read_parameters(known, self.plan.parameters)}
        graph = self.plan.graph()
        changed = [name for name, step in self.plan.steps.items() if old.steps.get(name) != step]
        anew = {from_step, *changed}
        anew |= {name for one in [*anew] for name in _descendants(graph, one)}
        kept = {n: r for n, r in before.results.items() if n in self.plan.steps and n not in anew and not _is_failed(r)}
        return self._go(to or str(uuid4()), self.plan, parameters, record.owner, kept, emit)

    def find(self, run_id: str) -> WorkflowRun:
        """A run as it stands.

        Raises:
            StateError: there is none.
        """
        return WorkflowRun.model_validate(self._record(run_id).body["run"])

    def dry_run(self, parameters: Mapping[str, Any] | None = None) -> list[PlannedStep]:
        """What a run would do, in an order in which it may happen; nothing is done.

        Raises:
            InputError: a parameter is missing or wrong.
        """
        scope = {"today": date.today().isoformat(), **read_parameters(parameters or {}, self.plan.parameters)}
        return list(_planned_steps(self.plan.steps, scope, self.known))

    def compiled(self, plan: Plan, path: str = "", *, saver: ThreadSaver | None = None) -> Any:
        """The graph of a plan, made once.

        Args:
            path: Before the names of its steps, where it is a part of another plan.
            saver: Where its runs are saved.
        """
        key = (id(plan), path, saver is None)
        if key not in self._graphs:
            graph = _Compiler(self, plan, path).graph().compile(checkpointer=saver, name=plan.name)
            self._graphs[key] = (plan, graph)  # the plan is kept, so that no other can have its place in memory
        return self._graphs[key][1]

    def _record(self, run_id: str) -> Record:
        record = self.records.get(KIND, run_id)
        if record is None:
            there = [one.id for one in self.records.list(KIND)]
            raise StateError(unknown("run", run_id, there[:20]), hint="metier runs list")
        return record

    def _go(
        self,
        run_id: str,
        plan: Plan,
        parameters: Plain,
        owner: Owner,
        results: Mapping[str, ResultValue],
        tell: Emit,
        *,
        decisions: Sequence[Decision] | None = None,
        durable: bool = True,
    ) -> WorkflowRun:
        start, saver = perf_counter(), self._saver if durable else None
        blank = WorkflowRun(run_id=run_id, workflow=plan.name, status="running", parameters=parameters)
        run = _Run(self._place(blank), owner, str(parameters.get("today", "")), saved=saver is not None)
        config: RunnableConfig = {
            "configurable": {"thread_id": blank.thread_id, EMIT: tell, _RUN: run, **configured(owner)},
            "recursion_limit": _LIMIT,
            "max_concurrency": plan.budget.parallel,
            "run_name": plan.name,
            "metadata": {"run_id": run_id},
        }
        saved: Any = {"durability": "sync"} if saver else {}
        with saving(run_id), saver.turn(blank.thread_id, TURN_SECONDS) if saver else nullcontext():
            graph = self.compiled(plan, saver=saver)
            if durable and decisions is None:
                self._keep(blank, plan, owner)
            given = None if decisions is None else self._decided(graph, config, plan, decisions)
            if given is None:
                scope = {name: {"plain": value} for name, value in parameters.items()}
                given = _begun(scope, None, {name: run.pack(one) for name, one in results.items()})
            state = graph.invoke(None if given is _GO_ON else given, config, **saved)
            waits = [*self._questions(graph, config, plan).values()] if saver else []
            done = _finished(blank, plan, run, state, waits, perf_counter() - start)
            if durable:
                self._keep(done, plan, owner)
        tell(Event(name="waiting" if waits else "answer", data=done.answer.model_dump(mode="json")))
        return done

    def _decided(self, graph: Any, config: RunnableConfig, plan: Plan, decisions: Sequence[Decision]) -> Any:
        """What a run goes on with; None where it was broken off before anything was saved."""
        if not graph.get_state(config).values:
            return None
        left = Unfinished(run_id="", questions=self._questions(graph, config, plan)).resume(decisions)
        return Command(resume=left) if left else _GO_ON

    def _questions(self, graph: Any, config: RunnableConfig, plan: Plan) -> dict[str, ApprovalRequest]:
        """What waits for a person, by the interrupts' ids, in the order of the plan."""
        assert self.team
        waiting = self.team.threads.questions(config["configurable"]["thread_id"])  # pyright: ignore
        if len(waiting) < 2:
            return waiting
        place = {name: number for number, name in enumerate(plan.steps)}
        tasks = sorted(graph.get_state(config).tasks, key=lambda task: place[task.name.partition(".")[0]])
        ids = [one.id for task in tasks for one in task.interrupts]
        return {
            id: waiting[id] for id in sorted(waiting, key=lambda id: (id not in ids, ids.index(id) if id in ids else 0))
        }

    def _keep(self, run: WorkflowRun, plan: Plan, owner: Owner) -> None:
        body = {"run": run.model_dump(mode="json"), "plan": plan.model_dump(mode="json")}
        going = run.status in ("running", "waiting")
        self.records.put(KIND, run.run_id, owner, body, thread_id=run.thread_id, open=going)

    def _place(self, run: WorkflowRun) -> Path:
        if self._folder:
            return self._folder
        return (self.team.blueprint.state / "output" if self.team else Path(gettempdir())) / run.thread_id


def saving(run_id: str) -> Any:
    """A full disk while a run is saved is said in words."""
    return saying_full(f"run '{run_id}' could not be saved")


def _descendants(graph: Any, name: str) -> set[str]:
    reached, left = set[str](), [name]
    while left:
        left += [one for one in graph.successors(left.pop()) if one not in reached and not reached.add(one)]
    return reached


def _finished(
    run: WorkflowRun, plan: Plan, made: _Run, state: Plain, waits: Sequence[ApprovalRequest], seconds: float
) -> WorkflowRun:
    """The run as its graph left it."""
    found = {name: made.unpack(state["results"][name]) for name in plan.steps if name in state["results"]}
    failed = any(isinstance(one, Failed) for one in found.values())
    request = Unfinished(run_id=run.run_id, questions={str(n): one for n, one in enumerate(waits)}).request
    spent = state["spent"]
    usage = Usage(**{name: spent.get(name, 0) for name in ("input_tokens", "output_tokens", "calls")})
    return run.model_copy(
        update={
            "status": "waiting" if waits else "failed" if failed else "done",
            "results": found,
            "result": None if waits or failed else found.get(plan.outcome),
            "trouble": tuple(_trouble(plan.steps, found)),
            "waiting": request if waits else None,
            "usage": usage,
            "timings": {**spent.get("seconds", {}), "total": seconds},
        }
    )


def _trouble(steps: Mapping[str, Step], found: Mapping[str, ResultValue], at: str = "") -> list[Trouble]:
    """What was left out although nothing in the plan said so, what failed, and lists that were cut."""
    trouble = list[Trouble]()
    for name, result in found.items():
        step = steps.get(name)
        if isinstance(result, Failed) or (isinstance(result, Skipped) and step and not _meant(step, result)):
            trouble.append(Trouble(step=f"{at}{name}", reason=result.reason))
        if isinstance(result, Items) and isinstance(step, EachStep):
            if result.more:
                count = len(result.items)
                trouble.append(Trouble(step=f"{at}{name}", reason=f"only the first {count} of {count + result.more}"))
            for number, item in enumerate(result.items):
                trouble += _trouble(step.steps, item, f"{at}{name}[{number}].")
    return trouble


def _meant(step: Step, result: Skipped) -> bool:
    """Was it left out by its own condition?"""
    return step.when is not None and result.reason == f"{step.when} is false"


def _planned_steps(steps: Mapping[str, Step], scope: Plain, known: Known, times: int = 1, at: str = "") -> Any:
    graph = step_graph(steps)
    for name in _in_order(graph, list(steps)):
        step = steps[name]
        count = times * (step.at_most or 1) if isinstance(step, EachStep) else times
        yield PlannedStep(
            step=f"{at}{name}",
            kind=step.kind,
            does=_does(step, scope),
            after=tuple(f"{at}{one}" for one in steps if graph.has_edge(one, name)),
            effect=_effect(step, known),
            at_most=times,
        )
        if isinstance(step, EachStep):
            yield from _planned_steps(step.steps, scope, known, count, f"{at}{name}.")


def _in_order(graph: Any, names: list[str]) -> list[str]:
    """Steps after what they need; side by side, as they stand in the plan."""
    done = list[str]()
    while len(done) < len(names):
        done.append(next(n for n in names if n not in done and all(one in done for one in graph.predecessors(n))))
    return done


def _effect(step: Step, known: Known) -> str:
    if step.kind == "person":
        return "person"
    found = known.tool(step.tool) if isinstance(step, ToolStep) else None
    return found[1].effects.effect if found and found[1].effects.effect != "read" else ""


def _does(step: Step, scope: Plain) -> str:
    """A step in words; what only the run will know stays as it is written."""
    said = {name: value for name, value in step.model_dump(by_alias=True).items() if value not in (None, (), {}, "")}
    usual = {"kind", "after", "on_failure", "attempts", "seconds", "cache", "steps", "when"}
    parts = [f"{name}: {_filled(value, scope)}" for name, value in said.items() if name not in usual]
    return "; ".join([*parts, *([f"when {_filled(step.when, scope)}"] if step.when else [])])


def _filled(value: Any, scope: Plain) -> str:
    """With the parameters in it, where a text needs nothing else."""
    if not isinstance(value, str) or not uses(value).names <= set(scope):
        return str(value)
    try:
        return str(fill(value, scope))
    except InputError:
        return value


def runs(records: Records, owner: Owner | None = None) -> list[WorkflowRun]:
    """The runs that are kept, the latest first."""
    return [WorkflowRun.model_validate(record.body["run"]) for record in records.list(KIND, owner)]


class Difference(Value):
    """A step that two runs did not do alike."""

    step: str
    before: str
    after: str
    seconds_before: float = 0.0
    seconds_after: float = 0.0


def compare_runs(before: WorkflowRun, after: WorkflowRun) -> list[Difference]:
    """The steps whose results differ, in the order of the earlier run."""
    names = dict.fromkeys([*before.results, *after.results])
    shown = {name: tuple(str(run.results.get(name, "(not begun)")) for run in (before, after)) for name in names}
    return [
        Difference(
            step=name,
            before=one,
            after=other,
            seconds_before=before.timings.get(name, 0.0),
            seconds_after=after.timings.get(name, 0.0),
        )
        for name, (one, other) in shown.items()
        if one != other
    ]
