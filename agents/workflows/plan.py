"""A plan is a graph: typed steps that use parameters and each other's results. All that is wrong with it is found
before anything runs.

    plan = Plan.of("greet", who=AskStep(ask="hr", task="Who is new?"), hello=JoinStep(join="Hello, {{ who }}!"))
    plan.check(known)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any

import networkx as nx
from pydantic import ConfigDict, Field

from ...core.errors import InputError, unknown
from ...core.types import Value
from ...tools.policy import Effects, RunFacts, TeamRules, matches
from .kinds import LISTS, kind_of, misfit
from .results import KINDS
from .steps import (
    STEP_NAME,
    AskStep,
    CalculateStep,
    ConditionStep,
    EachStep,
    JoinStep,
    Parameter,
    PersonStep,
    PlanPlace,
    ReportStep,
    Step,
    SubStep,
    ToolStep,
    fits,
    most_runs,
    names_in,
    read_value,
    step_graph,
    walk,
)
from .template import RESERVED, readable, uses

__all__ = [
    "AskStep",
    "CalculateStep",
    "ConditionStep",
    "EachStep",
    "Fault",
    "JoinStep",
    "Known",
    "KnownSpecialist",
    "KnownTool",
    "Parameter",
    "PersonStep",
    "Plan",
    "PlanBudget",
    "ReportStep",
    "Step",
    "SubStep",
    "ToolStep",
    "WatchedFolder",
]

_REPORTS = (".md", ".html", ".docx", ".pdf")
_PURE = ("ask", "calculate", "condition", "join")
"""Steps that change nothing: without anybody who uses them they are for nothing."""


class PlanBudget(Value):
    """What one run may spend."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: int = Field(default=1000, ge=1)
    """Steps, those in loops counted for each item."""
    tokens: int = Field(default=1_000_000, ge=1)
    """Input and output tokens of all models together."""
    seconds: float = Field(default=3600.0, gt=0)
    """Time at work; while a person is waited for, none passes."""
    parallel: int = Field(default=4, ge=1, le=64)
    """Steps at the same time."""


class WatchedFolder(Value):
    """A folder whose new files start the workflow, where `metier serve` runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: str
    """Relative to team.yaml."""
    pattern: str = "*"
    """Of the files' names, as in `*.pdf`."""
    parameter: str
    """The parameter that gets the file's path."""


class Fault(Value):
    """Something that is wrong with a plan."""

    at: PlanPlace
    """Where, as in `("steps", "downtime", "task")`."""
    what: str
    hint: str = ""
    """How to mend it."""
    blocking: bool = True
    """False for what only looks like a mistake: the plan can run."""

    @property
    def where(self) -> str:
        """As people write it: `steps.downtime.task`."""
        return ".".join(map(str, self.at))

    def __str__(self) -> str:
        return f"{self.where}: {self.what}{f' → {self.hint}' if self.hint else ''}"


class KnownSpecialist(Value):
    """Whom a plan may ask."""

    gives: str = ""
    """The kind of result: `text`, `table`, `data`; empty where that is not known before."""
    acts: bool = False
    """It has tools that change something."""
    untrusted: bool = True
    """Its answers are made of text that strangers may have written."""


class KnownTool(Value):
    """What a plan may call."""

    effects: Effects = Effects()
    parameters: dict[str, Any] = Field(default_factory=dict)
    """JSON Schema of its arguments."""
    repeatable: bool = False
    """The same call twice is one effect."""


class Known(Value):
    """What there is around a plan: whom it may ask, what it may call, and what is allowed."""

    specialists: dict[str, KnownSpecialist] = Field(default_factory=dict)
    tools: dict[str, KnownTool] = Field(default_factory=dict)
    """By `specialist.tool`."""
    workflows: dict[str, Plan] = Field(default_factory=dict)
    rules: TeamRules = TeamRules()
    people: bool = True
    """Somebody can be asked: runs are saved, and go on later."""

    def tool(self, name: str) -> tuple[str, KnownTool] | None:
        """A tool by its name or by `specialist.tool`; None where there is none, or more than one.

        Returns:
            Its full name, and itself.
        """
        found = [full for full in self.tools if name in (full, full.partition(".")[2])]
        return (found[0], self.tools[found[0]]) if len(found) == 1 else None


class Plan(Value):
    """A workflow: what is to be done, by whom, with what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(default="plan", pattern=r"^[a-z][a-z0-9_-]{0,60}$")
    description: str = ""
    examples: tuple[str, ...] = ()
    """Tasks in people's words that this workflow is for; the router learns from them."""
    parameters: dict[Annotated[str, Field(pattern=STEP_NAME)], Parameter] = Field(default_factory=dict)
    watch: WatchedFolder | None = None
    """Start it for each file that appears in a folder."""
    schedule: str = ""
    """When an outside scheduler should start it, as a line of cron; metier itself starts nothing by the clock."""
    steps: dict[Annotated[str, Field(pattern=STEP_NAME)], Step] = Field(min_length=1)
    result: str | None = None
    """The step whose result is the run's; left out: the last one in the file."""
    budget: PlanBudget = PlanBudget()

    @classmethod
    def of(cls, name: str, *, parameters: Mapping[str, Parameter] | None = None, **steps: Any) -> Plan:
        """A plan in Python: steps by name, and `description`, `examples`, `result`, `budget` as fields are called."""
        fields = {key: steps.pop(key) for key in ("description", "examples", "result", "budget") if key in steps}
        return cls(name=name, parameters=dict(parameters or {}), steps=steps, **fields)

    @property
    def outcome(self) -> str:
        """The step whose result is the run's."""
        return self.result or list(self.steps)[-1]

    @property
    def parameters_schema(self) -> dict[str, Any]:
        """Its parameters as JSON Schema of one object."""
        return {
            "type": "object",
            "properties": {name: parameter.json_schema() for name, parameter in self.parameters.items()},
            "required": [name for name, parameter in self.parameters.items() if parameter.required],
        }

    def graph(self) -> nx.DiGraph[str]:
        """The steps as a graph: an edge goes to a step from what it uses (`kind`: data), or only follows (`order`)."""
        return step_graph(self.steps)

    def check(self, known: Known | None = None) -> list[Fault]:
        """All that is wrong, in the order of the plan.

        Args:
            known: What there is around it; left out, only what the plan itself shows is looked at.
        """
        checked = _Checked(self, known)
        faults = list(dict.fromkeys(checked.faults()))
        places = {at: number for number, (at, _, _) in enumerate(walk(self.steps))}
        return sorted(faults, key=lambda fault: (not fault.blocking, _line(fault.at, places)))


Known.model_rebuild()


def _line(at: PlanPlace, places: Mapping[PlanPlace, int]) -> int:
    while at and at not in places:
        at = at[:-1]
    return places.get(at, -1)


class _Checked:
    """One plan under the eye of its check."""

    def __init__(self, plan: Plan, known: Known | None) -> None:
        self.plan, self.known = plan, known
        self.graph = plan.graph()

    def faults(self) -> Iterator[Fault]:
        plan = self.plan
        yield from self._parameters()
        scope = {name: parameter.type for name, parameter in plan.parameters.items()} | {"today": "string"}
        yield from self._steps(plan.steps, ("steps",), scope)
        yield from self._cycles(plan.steps, ("steps",))
        if plan.result is not None and plan.result not in plan.steps:
            yield Fault(at=("result",), what=unknown("step", plan.result, plan.steps))
        watch = plan.watch
        if watch and watch.parameter not in plan.parameters:
            yield Fault(at=("watch", "parameter"), what=unknown("parameter", watch.parameter, plan.parameters))
        yield from self._unused()
        yield from self._files()
        yield from self._budget()
        if self.known:
            yield from self._recursion(self.known)

    def _parameters(self) -> Iterator[Fault]:
        for name, parameter in self.plan.parameters.items():
            at = ("parameters", name)
            if name in RESERVED:
                yield Fault(at=at, what=f"the name '{name}' has a meaning in templates", hint="take another name")
            if (
                parameter.minimum is not None
                and parameter.maximum is not None
                and parameter.minimum > parameter.maximum
            ):
                yield Fault(at=at, what=f"its minimum {parameter.minimum:g} is above its maximum {parameter.maximum:g}")
            wrong = [value for value in parameter.enum if not fits(value, parameter.type)]
            if wrong:
                yield Fault(at=(*at, "enum"), what=f"{wrong[0]!r} is no {parameter.type}")
            elif not parameter.required and parameter.default is not None:
                try:
                    read_value(parameter.default, parameter)
                except InputError as error:
                    yield Fault(at=(*at, "default"), what=error.message)
            if not any(name in names_in(step) for step in self.plan.steps.values()):
                yield Fault(at=at, what="no step uses this parameter", hint="leave it out", blocking=False)

    def _steps(self, steps: Mapping[str, Step], at: PlanPlace, outer: Mapping[str, str]) -> Iterator[Fault]:
        """Args: outer: Names that the steps may use beside each other, with their kinds."""
        scope = {**outer, **{name: self._kind(step) for name, step in steps.items()}}
        for name, step in steps.items():
            here = (*at, name)
            if name in RESERVED:
                yield Fault(at=here, what=f"the name '{name}' has a meaning in templates", hint="take another name")
            elif name in outer:
                yield Fault(at=here, what=f"there is a parameter or a step '{name}' already", hint="rename one of them")
            for before in step.after:
                if before not in steps:
                    yield Fault(at=(*here, "after"), what=unknown("step", before, [n for n in steps if n != name]))
            yield from self._templates(step, here, {k: v for k, v in scope.items() if k != name})
            yield from self._policies(step, here)
            yield from self._of_kind(step, here, scope)

    def _kind(self, step: Step) -> str:
        """The kind of a step's result; empty where it is not known before it runs."""
        match step:
            case AskStep(ask=name) if self.known and name in self.known.specialists:
                return self.known.specialists[name].gives
            case PersonStep(type=type_):
                return {"number": "number", "integer": "number", "boolean": "truth"}.get(type_ or "", "text")
            case SubStep(workflow=name) if self.known and name in self.known.workflows:
                other = self.known.workflows[name]
                last = other.steps.get(other.outcome)
                return last.makes if last else ""
        return step.makes

    def _templates(self, step: Step, at: PlanPlace, scope: Mapping[str, str]) -> Iterator[Fault]:
        for place, source in step.templates():
            here = (*at, *place)
            try:
                used = uses(source)
            except InputError as error:
                yield Fault(at=here, what=error.message, hint=error.hint or "")
                continue
            for name in sorted(used.names - set(scope)):
                itself = name == at[-1]
                what = f"the step uses its own result '{name}'" if itself else unknown("step or parameter", name, scope)
                yield Fault(at=here, what=what, hint="" if itself else self._inside(name))
            for name, field in used.fields:
                if (
                    (kind := KINDS.get(scope.get(name, "")))
                    and kind is not KINDS["data"]
                    and field not in readable(kind)
                ):
                    what = unknown(f"field of the {scope[name]} '{name}'", field, readable(kind))
                    yield Fault(at=here, what=what)
        yield from self._condition(step, at)

    def _inside(self, name: str) -> str:
        """How a step inside a loop is read from outside it; empty where no loop has a step of this name."""
        loops = [loop for loop, step in self.plan.steps.items() if isinstance(step, EachStep) and name in step.steps]
        read = f"{{% for one in {loops[0]}.items %}}{{{{ one.{name} }}}}{{% endfor %}}" if loops else ""
        return f"it is done for each item of '{loops[0]}': {read}" if loops else ""

    def _condition(self, step: Step, at: PlanPlace) -> Iterator[Fault]:
        conditions = [("when", step.when)] if step.when is not None else []
        if isinstance(step, ConditionStep):
            conditions.append(("condition", step.condition))
        for field, source in conditions:
            try:
                used = uses(source)
            except InputError:
                continue
            if not used.whole:
                yield Fault(
                    at=(*at, field), what=f"'{source}' is no condition", hint="write it as {{ hours.value > 3 }}"
                )
            elif not used.names:
                always = "when" if field == "when" else "condition"
                yield Fault(at=(*at, field), what=f"this {always} is the same in every run: it depends on nothing")

    def _policies(self, step: Step, at: PlanPlace) -> Iterator[Fault]:
        if step.on_failure == "replan" and not isinstance(step, AskStep):
            yield Fault(at=(*at, "on_failure"), what=f"only a question can be planned anew, not a step '{step.kind}'")
        if self.known and not self.known.people:
            asks = isinstance(step, PersonStep) or step.on_failure == "ask"
            if asks:
                where = at if isinstance(step, PersonStep) else (*at, "on_failure")
                what = "a person would be asked, and this team keeps no runs that could wait"
                yield Fault(at=where, what=what, hint="memory: {checkpoints: sqlite} in team.yaml")
        if step.seconds > self.plan.budget.seconds:
            what = f"{step.seconds:g} s are more than the {self.plan.budget.seconds:g} s of the whole plan"
            if "seconds" in step.model_fields_set:
                yield Fault(at=(*at, "seconds"), what=what)

    def _of_kind(self, step: Step, at: PlanPlace, scope: Mapping[str, str]) -> Iterator[Fault]:
        match step:
            case AskStep():
                yield from self._asked(step, at)
            case ToolStep():
                yield from self._tool(step, at, scope)
            case CalculateStep():
                yield from self._calculation(step, at, scope)
            case EachStep():
                yield from self._loop(step, at, scope)
            case PersonStep():
                if step.choices and step.type:
                    yield Fault(at=(*at, "type"), what="a question has choices or a type, not both")
                if len(step.choices) == 1 or len(set(step.choices)) < len(step.choices):
                    yield Fault(at=(*at, "choices"), what="needs two or more different answers")
            case SubStep():
                yield from self._sub(step, at, scope)
            case ReportStep():
                yield from self._report(step, at)

    def _asked(self, step: AskStep, at: PlanPlace) -> Iterator[Fault]:
        if not step.task.strip():
            yield Fault(at=(*at, "task"), what="is empty")
        if not self.known or step.ask == "team":
            return
        person = self.known.specialists.get(step.ask)
        if person is None:
            yield Fault(at=(*at, "ask"), what=unknown("specialist", step.ask, [*self.known.specialists, "team"]))
        elif person.acts and (step.attempts > 1 or step.cache):
            field = "attempts" if step.attempts > 1 else "cache"
            yield Fault(at=(*at, field), what=f"'{step.ask}' has tools that change something: that must happen once")

    def _tool(self, step: ToolStep, at: PlanPlace, scope: Mapping[str, str]) -> Iterator[Fault]:
        if not self.known:
            return
        found = self.known.tool(step.tool)
        if found is None:
            full = [name for name in self.known.tools if name.partition(".")[2] == step.tool]
            hint = f"say which: {', '.join(sorted(full))}" if full else "tools are those on the cards of specialists"
            yield Fault(at=(*at, "tool"), what=unknown("tool", step.tool, self.known.tools), hint=hint)
            return
        name, tool = found
        yield from self._arguments(step, at, scope, tool.parameters)
        yield from self._permission(step, at, name.partition(".")[2], tool)

    def _permission(self, step: ToolStep, at: PlanPlace, name: str, tool: KnownTool) -> Iterator[Fault]:
        assert self.known
        here, effects, rules = (*at, "tool"), tool.effects, self.known.rules
        if matches(name, rules.deny):
            yield Fault(at=here, what=f"the team does not allow '{name}'", hint="policy.deny in team.yaml")
            return
        if effects.effect == "read":
            return
        if step.cache:
            yield Fault(at=(*at, "cache"), what=f"'{name}' changes something: its result cannot be taken from before")
        if step.attempts > 1 and not tool.repeatable:
            what = f"'{name}' changes something, and takes no idempotency_key: tried again it may happen twice"
            yield Fault(at=(*at, "attempts"), what=what)
        facts = self._facts(step)
        if facts.untrusted and rules.untrusted == "deny":
            yield Fault(at=here, what=f"'{name}' would act after text from outside was read, which the team forbids")
        elif (facts.untrusted or matches(name, rules.ask)) and not self.known.people:
            yield Fault(at=here, what=f"a person must approve '{name}', and this team keeps no runs that could wait")

    def _facts(self, step: Step) -> RunFacts:
        """What surely is in what a step uses, as far as that is known before."""
        assert self.known
        everything = {name: inner for _, name, inner in walk(self.plan.steps)}
        left, seen = [*names_in(step)], set[str]()
        untrusted = False
        while left:
            name = left.pop()
            used = everything.get(name)
            if used is None or name in seen:
                continue
            seen.add(name)
            left += [*names_in(used), *(used.steps if isinstance(used, EachStep) else ())]
            if isinstance(used, AskStep):
                person = self.known.specialists.get(used.ask)
                untrusted |= person.untrusted if person else used.ask == "team"
            elif isinstance(used, ToolStep) and (found := self.known.tool(used.tool)):
                untrusted |= found[1].effects.untrusted_output
        return RunFacts(untrusted=untrusted)

    def _arguments(
        self, step: ToolStep | SubStep, at: PlanPlace, scope: Mapping[str, str], schema: Mapping[str, Any]
    ) -> Iterator[Fault]:
        """Are all arguments there, known, and of the right type?"""
        known, here = schema.get("properties", {}), (*at, "arguments")
        for name in schema.get("required", ()):
            if name not in step.arguments:
                yield Fault(at=here, what=f"'{name}' is missing", hint=known.get(name, {}).get("description", ""))
        for name, value in step.arguments.items():
            if name not in known:
                yield Fault(at=(*here, name), what=unknown("argument", name, known))
            elif wrong := misfit(value, known[name].get("type", ""), scope):
                yield Fault(at=(*here, name), what=wrong)

    def _calculation(self, step: CalculateStep, at: PlanPlace, scope: Mapping[str, str]) -> Iterator[Fault]:
        try:
            used = uses(step.calculate)
        except InputError:
            return
        read = {name for name, _ in used.fields}
        for name in sorted(used.names - read):
            if scope.get(name) in ("table", "items", "file", "truth", "boolean", "object"):
                hint = f"a column of it: {{{{ {name}.column('…') }}}}" if scope[name] == "table" else ""
                what = f"'{name}' is a {scope[name]}, which is no number"
                yield Fault(at=(*at, "calculate"), what=what, hint=hint)

    def _loop(self, step: EachStep, at: PlanPlace, scope: Mapping[str, str]) -> Iterator[Fault]:
        if step.at_most is None:
            yield Fault(at=(*at, "at_most"), what="a loop needs a bound", hint="at_most: 20")
        if step.name in scope or step.name in RESERVED or step.name in step.steps:
            yield Fault(at=(*at, "as"), what=f"the name '{step.name}' is taken", hint="as: another name")
        try:
            used = uses(step.for_each)
            if not used.whole:
                yield Fault(
                    at=(*at, "for_each"), what=f"'{step.for_each}' gives no list", hint="one {{ }}, nothing else"
                )
            elif (kind := kind_of(used.value, scope)) not in LISTS:
                yield Fault(at=(*at, "for_each"), what=f"'{step.for_each}' is a {kind}, and not a list")
        except InputError:
            pass
        inner: dict[str, str] = {**{k: v for k, v in scope.items() if k != at[-1]}, step.name: ""}
        yield from self._steps(step.steps, (*at, "steps"), inner)
        yield from self._cycles(step.steps, (*at, "steps"))

    def _sub(self, step: SubStep, at: PlanPlace, scope: Mapping[str, str]) -> Iterator[Fault]:
        if not self.known:
            return
        other = self.known.workflows.get(step.workflow)
        if other is None:
            yield Fault(at=(*at, "workflow"), what=unknown("workflow", step.workflow, self.known.workflows))
            return
        yield from self._arguments(step, at, scope, other.parameters_schema)

    def _report(self, step: ReportStep, at: PlanPlace) -> Iterator[Fault]:
        path = PurePath(step.report)
        if path.suffix not in _REPORTS:
            what = f"'{step.report}' is no kind of report; available: {', '.join(_REPORTS)}"
            yield Fault(at=(*at, "report"), what=what)
        if path.is_absolute() or ".." in path.parts or "\\" in step.report:
            yield Fault(at=(*at, "report"), what=f"'{step.report}' leads out of the run's folder", hint="a plain name")
        if not step.template.strip():
            yield Fault(at=(*at, "template"), what="is empty")

    def _cycles(self, steps: Mapping[str, Step], at: PlanPlace) -> Iterator[Fault]:
        graph = step_graph(steps)
        graph.remove_edges_from(list(nx.selfloop_edges(graph)))  # told where it stands
        for group in nx.strongly_connected_components(graph):
            if len(group) > 1:
                inside = [name for name in steps if name in group]
                ring = [edge[0] for edge in nx.find_cycle(graph.subgraph(inside), inside)]
                start = min(range(len(ring)), key=lambda place: inside.index(ring[place]))
                ring = [*ring[start:], *ring[:start]]
                yield Fault(at=(*at, ring[0]), what=f"the steps wait for each other: {' → '.join([*ring, ring[0]])}")

    def _unused(self) -> Iterator[Fault]:
        """Steps that change nothing, and that lead to nothing that does or to the result."""
        if self.plan.result is not None and self.plan.result not in self.plan.steps:
            return
        ends = {name for name, step in self.plan.steps.items() if step.kind not in (*_PURE, "each")}
        ends |= {name for name, step in self.plan.steps.items() if isinstance(step, EachStep) and _acts(step)}
        ends.add(self.plan.outcome)
        needed = ends.union(*(nx.ancestors(self.graph, name) for name in ends))
        for name in self.plan.steps:
            if name not in needed:
                what = f"nothing uses this step, and the result is '{self.plan.outcome}'"
                yield Fault(at=("steps", name), what=what, hint="use it, or leave it out", blocking=False)

    def _files(self) -> Iterator[Fault]:
        seen = dict[str, str]()
        for at, name, step in walk(self.plan.steps):
            if not isinstance(step, ReportStep):
                continue
            if len(at) > 2 and "{" not in step.report:
                yield Fault(
                    at=(*at, "report"),
                    what="each turn of the loop would write the same file",
                    hint="a {{ }} in its name",
                )
            if step.report in seen:
                yield Fault(at=(*at, "report"), what=f"step '{seen[step.report]}' writes the file '{step.report}', too")
            seen[step.report] = name

    def _budget(self) -> Iterator[Fault]:
        most = most_runs(self.plan.steps)
        if most > self.plan.budget.steps:
            what = f"{most} steps with all turns of its loops, and {self.plan.budget.steps} are allowed"
            yield Fault(at=("budget", "steps"), what=what, hint="lower at_most, or raise budget.steps")

    def _recursion(self, known: Known) -> Iterator[Fault]:
        """A workflow that runs itself would never end."""
        for at, _, step in walk(self.plan.steps):
            if isinstance(step, SubStep) and self.plan.name in _reached(step.workflow, known.workflows):
                yield Fault(at=(*at, "workflow"), what=f"'{step.workflow}' runs '{self.plan.name}' again, without end")


def _acts(loop: EachStep) -> bool:
    return any(step.kind not in (*_PURE, "each") for _, _, step in walk(loop.steps))


def _reached(name: str, workflows: Mapping[str, Plan]) -> set[str]:
    """A workflow, and all that it runs."""
    reached, left = set[str](), [name]
    while left:
        here = left.pop()
        if here not in reached:
            reached.add(here)
            steps = workflows[here].steps if here in workflows else {}
            left += [step.workflow for _, _, step in walk(steps) if isinstance(step, SubStep)]
    return reached
