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
from pathlib import Path
from tempfile import gettempdir
from time import perf_counter
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.types import Command

from ...core.errors import ConfigError, InputError, StateError, unknown
from ...core.files import saying_full
from ...core.run import Emit, Event, Plain, ignore
from ...core.types import Answer, Usage, Value
from ...memory.records import Record, Records
from ...memory.store import Owner
from ...memory.threads import ThreadSaver
from ...tools.policy import ApprovalRequest, Decision
from ..journal import EMIT
from ..threads import TURN_SECONDS, Unfinished, check_name
from ..turn_memory import configured
from .compile import LIMIT, RUNNING, Compiler, Running, begun, is_failed
from .perform import Colleagues, Replan, known_of
from .plan import AskStep, EachStep, Known, Plan, Step, ToolStep
from .planner import Planner
from .results import Failed, Items, ResultValue, Skipped
from .runs import KIND, Trouble, WorkflowRun, runs
from .steps import read_parameters, step_graph
from .template import fill, uses

_GO_ON = object()
"""What a run that was broken off goes on with: nothing new."""


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


class Workflow:
    """A plan, and the team that works on it.

    Args:
        plan: What is to be done.
        team: Who does it; None for a plan that asks nobody.
        workflows: Other plans that it may run, by name.
        replan: Takes a question apart that could not be answered, for steps with `on_failure: replan`; left out: the
            rules of `Planner` over the team's router.
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
        self.plan, self.team, self.workflows = plan, team, dict(workflows or {})
        self.replan = replan or (self._by_rule if team else None)
        self._folder = Path(folder) if folder else None
        self._graphs = dict[tuple[int, str, str], tuple[Plan, Any]]()
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
        within: str = "",
        durable: bool = True,
    ) -> WorkflowRun:
        """Do it.

        Args:
            parameters: As the plan names them; texts are read as their types say.
            run_id: Its name; left out: a new one.
            emit: Told of every event: `step` for each step, and those of whoever is asked.
            user, tenant: Who asks.
            within: The conversation of whose turn it is a part.
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
        blank = self._blank(name, self.plan, scope, within=within)
        return self._go(blank, self.plan, Owner(user, tenant), emit, durable=durable)

    def run_row(self, parameters: Mapping[str, Any]) -> WorkflowRun:
        """One of very many runs, each quick: its steps come one after another in this thread, nothing is kept of it, no
        person can be asked, nobody is told of events.

        Raises:
            InputError: a parameter is missing or wrong.
            Cancelled: it was called off.
        """
        start = perf_counter()
        values = {"today": date.today().isoformat(), **read_parameters(parameters, self.plan.parameters)}
        blank = self._blank(str(uuid4()), self.plan, values)
        run = Running(self._place(blank), Owner(None), values["today"], saved=False, straight=True)
        token = var_child_runnable_config.set({"configurable": {RUNNING: run, EMIT: ignore}})
        try:
            scope = {name: {"plain": value} for name, value in values.items()}
            state = self.compiled(self.plan, straight=True).invoke(begun(scope))
        finally:
            var_child_runnable_config.reset(token)
        return _finished(blank, self.plan, run, state, [], perf_counter() - start)

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
        blank = before.model_copy(update={"status": "running", "waiting": None, "trouble": ()})
        return self._go(blank, plan, record.owner, emit, decisions=decisions)

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
        kept = {n: r for n, r in before.results.items() if n in self.plan.steps and n not in anew and not is_failed(r)}
        blank = self._blank(to or str(uuid4()), self.plan, parameters, results=kept)
        return self._go(blank, self.plan, record.owner, emit)

    def find(self, run_id: str) -> WorkflowRun:
        """A run as it stands.

        Raises:
            StateError: there is none.
        """
        return WorkflowRun.model_validate(self._record(run_id).body["run"])

    def runs(self, owner: Owner | None = None) -> list[WorkflowRun]:
        """The runs that are kept of all the team's workflows, the latest first.

        Args:
            owner: Only this one's.
        """
        return runs(self.records, owner)

    def known_run(self, run_id: str) -> WorkflowRun | None:
        """A run as it stands; None where there is none."""
        record = self.records.get(KIND, run_id)
        return WorkflowRun.model_validate(record.body["run"]) if record else None

    def dry_run(self, parameters: Mapping[str, Any] | None = None) -> list[PlannedStep]:
        """What a run would do, in an order in which it may happen; nothing is done.

        Raises:
            InputError: a parameter is missing or wrong.
        """
        scope = {"today": date.today().isoformat(), **read_parameters(parameters or {}, self.plan.parameters)}
        return list(_planned_steps(self.plan.steps, scope, self.known))

    def compiled(self, plan: Plan, path: str = "", *, saver: ThreadSaver | None = None, straight: bool = False) -> Any:
        """The graph of a plan, made once.

        Args:
            path: Before the names of its steps, where it is a part of another plan.
            saver: Where its runs are saved.
            straight: Its steps one after another instead, without a graph.
        """
        key = (id(plan), path, "straight" if straight else "saved" if saver else "graph")
        if key not in self._graphs:
            made = Compiler(self, plan, path)
            graph = made.straight() if straight else made.graph().compile(checkpointer=saver, name=plan.name)
            self._graphs[key] = (plan, graph)  # the plan is kept, so that no other can have its place in memory
        return self._graphs[key][1]

    def _blank(self, run_id: str, plan: Plan, parameters: Plain, **more: Any) -> WorkflowRun:
        more |= {"folder": str(self._folder.resolve())} if self._folder else {}
        return WorkflowRun(run_id=run_id, workflow=plan.name, status="running", parameters=parameters, **more)

    def _by_rule(self, step: AskStep, task: str, answer: Answer | None = None) -> Plan | None:
        """Planned anew without a model."""
        assert self.team
        return Planner(self.team.router.route).replan(step, task, answer)

    def _record(self, run_id: str) -> Record:
        record = self.records.get(KIND, run_id)
        if record is None:
            there = [one.id for one in self.records.list(KIND)]
            raise StateError(unknown("run", run_id, there[:20]), hint="metier runs list")
        return record

    def _go(
        self,
        blank: WorkflowRun,
        plan: Plan,
        owner: Owner,
        tell: Emit,
        *,
        decisions: Sequence[Decision] | None = None,
        durable: bool = True,
    ) -> WorkflowRun:
        """Args: blank: The run as it begins; the results in it count, and their steps are not done."""
        start, saver = perf_counter(), self._saver if durable else None
        run_id, parameters = blank.run_id, blank.parameters
        today, parallel = str(parameters.get("today", "")), plan.budget.parallel
        run = Running(self._place(blank), owner, today, saved=saver is not None, parallel=parallel)
        config: RunnableConfig = {
            "configurable": {"thread_id": blank.thread_id, EMIT: tell, RUNNING: run, **configured(owner)},
            "recursion_limit": LIMIT,
            "max_concurrency": parallel,
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
                given = begun(scope, None, {name: run.pack(one) for name, one in blank.results.items()})
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
        if self._folder or run.folder:  # who goes on with a run need not know where its files were to go
            return self._folder or Path(run.folder)
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
    run: WorkflowRun, plan: Plan, made: Running, state: Plain, waits: Sequence[ApprovalRequest], seconds: float
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
    said = step.model_dump(by_alias=True, exclude_defaults=True)
    usual = {"kind", "after", "on_failure", "attempts", "seconds", "cache", "steps", "when"}
    parts = [f"{name}: {_filled(value, scope)}" for name, value in said.items() if name not in usual]
    return "; ".join([*parts, *([f"when {_filled(step.when, scope)}"] if step.when else [])])


def _filled(value: Any, scope: Plain) -> str:
    """With the parameters in it, where a text needs nothing else."""
    if isinstance(value, list | tuple):
        return ", ".join(_filled(part, scope) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_filled(part, scope)}" for name, part in value.items())
    if not isinstance(value, str) or not uses(value).names <= set(scope):
        return str(value)
    try:
        return str(fill(value, scope))
    except InputError:
        return value
