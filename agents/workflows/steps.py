"""The steps that plans are made of, and their parameters: typed values, told apart by `kind`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal

import networkx as nx
from pydantic import AliasChoices, ConfigDict, Discriminator, Field, Tag

from ...core.errors import InputError, unknown
from ...core.types import Value
from .template import texts_in, uses

ParameterType = Literal["string", "integer", "number", "boolean", "array", "object"]
OnFailure = Literal["fail", "skip", "ask", "replan"]
PlanPlace = tuple[str | int, ...]
"""Where something stands in a plan: `("steps", "downtime", "task")`."""

STEP_NAME = r"^[a-z][a-z0-9_]{0,40}$"
"""Names of steps and parameters stand in templates."""

_PYTHON: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class _Section(Value):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Parameter(_Section):
    """What somebody who starts a workflow says."""

    type: ParameterType = "string"
    description: str = ""
    """For people, and for the question when it is missing."""
    default: Any = None
    """Left out: it must be given."""
    enum: tuple[Any, ...] = ()
    """The values that are possible; left out: all of the type."""
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    """Regular expression that a string must match as a whole."""

    @property
    def required(self) -> bool:
        """Must it be given?"""
        return "default" not in self.model_fields_set

    def json_schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        bounds = {"minimum": self.minimum, "maximum": self.maximum, "pattern": self.pattern}
        more: dict[str, Any] = {name: value for name, value in bounds.items() if value is not None}
        if self.enum:
            more["enum"] = list(self.enum)
        if not self.required:
            more["default"] = self.default
        return {"type": self.type, "description": self.description, **more}


class _Step(_Section):
    """What every step may say."""

    makes: ClassVar[str] = ""
    """The kind of its result; empty where it depends."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Fields that hold templates, beside `when`."""

    when: str | None = None
    """A condition in `{{ }}`: where it is false, the step is left out."""
    after: tuple[str, ...] = ()
    """Steps that come before, although nothing of them is used."""
    on_failure: OnFailure = "fail"
    """When it cannot be done: `fail` ends the run, `skip` goes on without, `ask` asks a person, `replan` takes it apart
    once more and goes on without if that fails, too."""
    attempts: int = Field(default=1, ge=1, le=10)
    """How often it is tried when it fails for a reason that may pass."""
    seconds: float = Field(default=300.0, gt=0)
    """Time that an attempt may take."""
    cache: bool = False
    """Keep the result for runs that ask exactly the same of the same specialist or tool."""

    def templates(self) -> Iterator[tuple[PlanPlace, str]]:
        """Every template of the step itself, with its place in the step."""
        for name in ("when", *self.reads):
            yield from texts_in(getattr(self, name), (_alias(type(self), name),))

    def names(self) -> frozenset[str]:
        """What the step uses, by name: parameters and other steps.

        Raises:
            InputError: a template is none.
        """
        return frozenset().union(*(uses(source).names for _, source in self.templates()))


class AskStep(_Step):
    """A specialist, or the whole team, is asked."""

    reads = ("task", "facts")
    kind: Literal["ask"] = "ask"
    ask: str
    """Name of a specialist; `team`: the router chooses."""
    task: str
    facts: tuple[str, ...] = ()
    """What is known already and matters here."""
    hops: int = Field(default=1, ge=1, le=2)
    """2: the search for passages uses what a first one found, for answers that stand in two places."""


class ToolStep(_Step):
    """A tool is called."""

    reads = ("arguments",)
    kind: Literal["tool"] = "tool"
    tool: str
    """Its name; `specialist.tool` where several specialists have one of that name."""
    arguments: dict[str, Any] = Field(default_factory=dict)


class CalculateStep(_Step):
    """Something is computed, with units."""

    makes = "number"
    reads = ("calculate",)
    kind: Literal["calculate"] = "calculate"
    calculate: str
    """As in `2 * (3 + 4)`, `sum(1, 2)`, `15% of 80`, `3 ft in m`."""
    unit: str = ""
    """What the number is in; where the sum itself has units, it is converted."""


class ConditionStep(_Step):
    """Yes or no."""

    makes = "truth"
    reads = ("condition",)
    kind: Literal["condition"] = "condition"
    condition: str
    """One `{{ }}`."""


class EachStep(_Step):
    """The same steps for each item of a list, side by side."""

    makes = "items"
    reads = ("for_each",)
    kind: Literal["each"] = "each"
    for_each: str
    """One `{{ }}` that gives a list or a table."""
    name: str = Field(
        default="item", validation_alias=AliasChoices("as", "name"), serialization_alias="as", pattern=STEP_NAME
    )
    """What the steps inside call the item."""
    at_most: int | None = Field(default=None, ge=1, le=100_000)
    """Items that are worked on at most; of a longer list the first ones. Must be said."""
    steps: dict[Annotated[str, Field(pattern=STEP_NAME)], Step] = Field(min_length=1)

    def names(self) -> frozenset[str]:
        """What the loop and the steps inside use of what is outside."""
        inner = frozenset().union(*(step.names() | {*step.after} for step in self.steps.values()))
        return super().names() | (inner - {self.name, *self.steps})


class JoinStep(_Step):
    """Text out of several results, every citation kept."""

    makes = "text"
    reads = ("join",)
    kind: Literal["join"] = "join"
    join: str
    """The template."""


class PersonStep(_Step):
    """A person is asked; the run waits."""

    reads = ("ask_person",)
    kind: Literal["person"] = "person"
    ask_person: str
    """The question."""
    choices: tuple[str, ...] = ()
    """Answers to choose from. Of two, to approve means the first and to reject the second."""
    type: ParameterType | None = None
    """What the answer must be where there are no choices; left out: text."""


class SubStep(_Step):
    """Another workflow is run; its result is this step's."""

    reads = ("arguments",)
    kind: Literal["workflow"] = "workflow"
    workflow: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class ReportStep(_Step):
    """A file is written: Markdown that becomes what the file's name says."""

    makes = "file"
    reads = ("report", "template")
    kind: Literal["report"] = "report"
    report: str
    """Name of the file: `.md`, `.html`, `.docx` or `.pdf`."""
    template: str
    """Markdown with `{{ }}`. Results stand in it with marks for their citations, tables as tables."""


_MARKS = {
    "ask": AskStep, "tool": ToolStep, "calculate": CalculateStep, "condition": ConditionStep, "for_each": EachStep,
    "join": JoinStep, "ask_person": PersonStep, "workflow": SubStep, "report": ReportStep,
}  # fmt: skip
"""The field by which each kind of step is known."""


def _tag(given: Any) -> str | None:
    """Which step it is: that of the object, of its `kind`, or of the one field that says what is done."""
    if isinstance(given, _Step):
        return f"<{type(given).__name__}>"
    if not isinstance(given, Mapping):
        return None
    kinds = {step.model_fields["kind"].default: step for step in _MARKS.values()}
    marks = [mark for mark in _MARKS if mark in given]
    if not marks:  # a mistyped one: what it should be called is then said of the field itself
        marks = [near for name in given for near in get_close_matches(str(name), _MARKS, n=1)][:1]
    step = kinds.get(given.get("kind", "")) or (_MARKS[marks[0]] if len(marks) == 1 else None)
    return f"<{step.__name__}>" if step else None


Step = Annotated[
    Annotated[AskStep, Tag("<AskStep>")]
    | Annotated[ToolStep, Tag("<ToolStep>")]
    | Annotated[CalculateStep, Tag("<CalculateStep>")]
    | Annotated[ConditionStep, Tag("<ConditionStep>")]
    | Annotated[EachStep, Tag("<EachStep>")]
    | Annotated[JoinStep, Tag("<JoinStep>")]
    | Annotated[PersonStep, Tag("<PersonStep>")]
    | Annotated[SubStep, Tag("<SubStep>")]
    | Annotated[ReportStep, Tag("<ReportStep>")],
    Discriminator(
        _tag,
        custom_error_type="step_kind",
        custom_error_message=f"is not one step: what it does is said by exactly one of the fields {', '.join(_MARKS)}",
    ),
]
"""One step of a plan."""

EachStep.model_rebuild()


def _alias(kind: type[_Step], name: str) -> str:
    return kind.model_fields[name].serialization_alias or name


def fits(value: Any, type_: str) -> bool:
    """Is a value of this type of JSON Schema?"""
    wanted = _PYTHON.get(type_)
    if wanted is None:
        return True
    return isinstance(value, wanted) and (type_ == "boolean" or not isinstance(value, bool))


def read_value(said: Any, parameter: Parameter) -> Any:
    """A parameter's value; what a person wrote as text becomes what the type says.

    Raises:
        InputError: it is not of the type, none of the possible values, or out of bounds.
    """
    value = _from_text(said, parameter.type) if isinstance(said, str) else said
    if not fits(value, parameter.type):
        raise InputError(f"'{_show(said)}' is no {parameter.type}")
    if parameter.enum and value not in parameter.enum:
        raise InputError(unknown("value", _show(value), map(str, parameter.enum)))
    least, most = parameter.minimum, parameter.maximum
    if isinstance(value, int | float) and not isinstance(value, bool):
        if least is not None and value < least:
            raise InputError(f"{value} is less than {least:g}")
        if most is not None and value > most:
            raise InputError(f"{value} is more than {most:g}")
    if parameter.pattern and isinstance(value, str) and not re.fullmatch(parameter.pattern, value):
        raise InputError(f"'{_show(value)}' does not match {parameter.pattern}")
    return value


def _from_text(said: str, type_: str) -> Any:
    if type_ == "string":
        return said
    if type_ == "boolean":
        return _WORDS.get(said.strip().lower(), said)
    try:
        return json.loads(said)
    except ValueError:
        return [one.strip() for one in said.split(",")] if type_ == "array" and said.strip() else said


def read_parameters(given: Mapping[str, Any], wanted: Mapping[str, Parameter]) -> dict[str, Any]:
    """All parameters of a run, with the defaults of those that were left out.

    Raises:
        InputError: one is unknown, missing or wrong; all that is wrong is told at once.
    """
    wrong, values = list[str](), dict[str, Any]()
    for name in given:
        if name not in wanted:
            wrong.append(unknown("parameter", name, wanted))
    for name, parameter in wanted.items():
        if name not in given:
            if parameter.required:
                about = f" ({parameter.description})" if parameter.description else ""
                wrong.append(f"parameter '{name}' is missing{about}")
            values[name] = parameter.default
            continue
        try:
            values[name] = read_value(given[name], parameter)
        except InputError as error:
            wrong.append(f"parameter '{name}': {error.message}")
    if wrong:
        raise InputError("; ".join(wrong), hint=_usage(wanted))
    return values


def missing_parameters(given: Mapping[str, Any], wanted: Mapping[str, Parameter]) -> list[str]:
    """The parameters that must still be given."""
    return [name for name, parameter in wanted.items() if parameter.required and name not in given]


def _usage(wanted: Mapping[str, Parameter]) -> str:
    said = [f"{name}: {one.type}{'' if one.required else ' (may be left out)'}" for name, one in wanted.items()]
    return f"parameters: {', '.join(said) or 'none'}"


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


def walk(steps: Mapping[str, Step], at: PlanPlace = ("steps",)) -> Iterator[tuple[PlanPlace, str, Step]]:
    """Every step, those inside loops too, with its place and name."""
    for name, step in steps.items():
        yield (*at, name), name, step
        if isinstance(step, EachStep):
            yield from walk(step.steps, (*at, name, "steps"))


def most_runs(steps: Mapping[str, Step]) -> int:
    """How many steps a plan takes at most, those of loops counted for each item."""
    inside = ((step.at_most or 1) * most_runs(step.steps) for step in steps.values() if isinstance(step, EachStep))
    return len(steps) + sum(inside)


def step_graph(steps: Mapping[str, Step]) -> nx.DiGraph[str]:
    """Steps as a graph, those of a loop as one node; see `Plan.graph`. Templates that are none have no edges."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for name, step in steps.items():
        graph.add_node(name, kind=step.kind)
    for name, step in steps.items():
        graph.add_edges_from(((before, name) for before in step.after if before in steps), kind="order")
        graph.add_edges_from(((used, name) for used in names_in(step) if used in steps), kind="data")
    return graph


def names_in(step: Step) -> frozenset[str]:
    """What a step uses, by name; nothing where a template of it is none."""
    try:
        return step.names()
    except InputError:
        return frozenset()
