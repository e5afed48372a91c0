"""The plan store: a team's workflows as choices of its router, found like specialists and calibrated with them.

A workflow that was chosen takes its parameters from the task, asks for what the task does not say, and runs. A plan
that worked once can be kept as a workflow: what its task names becomes slots.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

from langchain_core.messages import AnyMessage

from ...core.dates import days_in
from ...core.errors import ConfigError, InputError, MetierError
from ...core.run import Emit, Plain
from ...core.text import codes
from ...core.types import Answer, Brief, Part, Route
from ...specialists.engines.engine import Engine, Json, Sampling
from ...specialists.knowledge.bridge import proper_names
from .files import FOLDER, read_plans, write_plan
from .plan import Plan
from .slots import SLOT, Guess, fill_slots, without_slots
from .steps import Parameter, read_value

RunPlan = Callable[[Plan, Mapping[str, Any], Brief, Emit], Answer]
"""Runs a plan with its parameters for a brief: `(plan, parameters, brief, emit) -> answer`."""

_VARIANTS = 6
"""Examples that one with slots is written out to, for the router."""
_FREE_REPLY = 12
"""Words that a reply may have which as a whole is the value that was asked for."""


class OfferedWorkflow:
    """A workflow as somebody on the team: asks for what is missing, then runs.

    Args:
        plan: The workflow.
        run: Runs it.
        guess: Asked for parameters that no rule finds in a task; left out: nobody.
        today: The day that dates are counted from, for tests.
    """

    def __init__(
        self, plan: Plan, run: RunPlan, *, guess: Guess | None = None, today: Callable[[], date] = date.today
    ) -> None:
        self.plan, self._run, self._guess, self._today = plan, run, guess, today

    def run(self, brief: Brief, emit: Emit) -> Answer:
        """Run it with what is known and what the task says, or ask for what is missing: an answer of the kind
        `clarify`, whose `data` lets the reply go on."""
        values = brief.parameters or self._read(brief.task)
        missing = [name for name, wanted in self.plan.parameters.items() if wanted.required and name not in values]
        if missing:
            return self._question(missing, values)
        try:
            return self._run(self.plan, values, brief, emit).model_copy(update={"specialist": self.plan.name})
        except InputError as error:
            return Answer(text=error.message, kind="clarify", specialist=self.plan.name, reason=error.message)

    def _read(self, task: str) -> dict[str, Any]:
        plan = self.plan
        return fill_slots(plan.parameters, task, examples=plan.examples, today=self._today(), guess=self._guess).values

    def replied(self, asked: Plain, reply: str) -> dict[str, Any] | None:
        """The parameters with what a reply says; None where it says nothing of what was asked for.

        Args:
            asked: The `data` of the question.
        """
        wanted = {name: self.plan.parameters[name] for name in asked["missing"] if name in self.plan.parameters}
        said = fill_slots(wanted, reply, today=self._today()).values
        said = {name: value for name, value in said.items() if value != wanted[name].default or wanted[name].required}
        if not said and len(wanted) == 1:
            said = _as_a_whole(*next(iter(wanted.items())), reply)
        return {**asked["values"], **said} if said else None

    def _question(self, missing: Sequence[str], values: Mapping[str, Any]) -> Answer:
        asked = [_asked(name, self.plan.parameters[name]) for name in missing]
        text = f"For “{self.plan.description or self.plan.name}” I need to know: {'; '.join(asked)}?"
        data = {"workflow": self.plan.name, "values": dict(values), "missing": list(missing)}
        reason = f"needs {', '.join(missing)}"
        return Answer(text=text, kind="clarify", specialist=self.plan.name, reason=reason, data=data, confidence=1.0)


def _asked(name: str, parameter: Parameter) -> str:
    about = (parameter.description or name.replace("_", " ")).strip(" .?")
    if parameter.enum:
        return f"{about} ({' or '.join(map(str, parameter.enum))})"
    bounds = [
        f"{word} {value:g}"
        for word, value in (("from", parameter.minimum), ("to", parameter.maximum))
        if value is not None
    ]
    return f"{about} ({' '.join(bounds)})" if bounds else about


def _as_a_whole(name: str, parameter: Parameter, reply: str) -> dict[str, Any]:
    """A short reply that is the value that was asked for; a question is none."""
    text = reply.strip(" .!")
    if "?" in reply or not text or len(text.split()) > _FREE_REPLY:
        return {}
    try:
        return {name: read_value(text, parameter)}
    except InputError:
        return {}


class PlanStore:
    """The workflows that a team offers, by name."""

    def __init__(self, offered: Mapping[str, OfferedWorkflow]) -> None:
        self.offered = dict(offered)

    def goes_on(self, messages: Sequence[AnyMessage]) -> tuple[str, Plain] | None:
        """The workflow for which the last message is the reply to its question, and what it knows of its parameters
        with it; None where it is none.

        Args:
            messages: A thread's; the last is the task.
        """
        if len(messages) < 2:
            return None
        asked = messages[-2].response_metadata.get("metier", {})
        data = asked.get("data") if asked.get("kind") == "clarify" else None
        known = dict(data) if isinstance(data, Mapping) else {}
        offered = self.offered.get(str(known.get("workflow", "")))
        values = offered.replied(known, str(messages[-1].text)) if offered else None
        return (offered.plan.name, values) if offered and values is not None else None

    def only_when_sure(self, task: str, route: Route, *, barred: bool = False) -> Route:
        """The route, with workflows only where one is surely meant: what a workflow does cannot be undone.

        Among several who only try, it is left out; where it is the likeliest of them, the user is asked.

        Args:
            task: What is to be done.
            barred: No workflow may be chosen: the task is a step of one.
        """
        if not any(part.specialist in self.offered for part in route.parts):
            return route
        if not barred and route.decision != "surest":
            return route
        if not barred and route.parts[0].specialist in self.offered:
            names = tuple(part.specialist for part in route.parts)
            return route.model_copy(update={"decision": "clarify", "parts": (), "candidates": names})
        rest = tuple(part for part in route.parts if part.specialist not in self.offered)
        if not rest:
            others = [choice.name for choice in route.choices if choice.name not in self.offered]
            rest = tuple(Part(specialist=name, text=task) for name in others[:1])
        decision = route.decision if len(rest) > 1 else "one" if rest else "abstain"
        return route.model_copy(update={"decision": decision, "parts": rest})


def router_examples(plans: Mapping[str, Plan]) -> dict[str, list[str]]:
    """What the router learns of each workflow: its examples, those with slots written out with several values."""
    return {
        name: list(dict.fromkeys(text for example in plan.examples for text in _written_out(example, plan.parameters)))
        for name, plan in plans.items()
    }


def _written_out(example: str, parameters: Mapping[str, Parameter]) -> Iterator[str]:
    slots = [name for name in dict.fromkeys(SLOT.findall(example)) if name in parameters and parameters[name].enum]
    chosen = product(*(parameters[name].enum for name in slots))
    for _, values in zip(range(_VARIANTS), chosen, strict=False):
        said = example
        for name, value in zip(slots, values, strict=True):
            said = said.replace(f"{{{name}}}", str(value))
        yield without_slots(said, parameters)


def guesser(engine: Engine, adapter: str | None = None) -> Guess:
    """Has the base read parameters out of a task, under a grammar of their types; it may leave each out."""

    def guess(parameters: Mapping[str, Parameter], task: str) -> Mapping[str, Any]:
        optional = {
            name: {"anyOf": [parameter.json_schema(), {"type": "null"}]} for name, parameter in parameters.items()
        }
        schema = {"type": "object", "properties": optional, "required": list(optional), "additionalProperties": False}
        lines = [
            f"- {name} ({parameter.type}): {parameter.description or name}" for name, parameter in parameters.items()
        ]
        system = "\n".join(["Copy these values from the task as JSON; null where the task does not say one.", *lines])
        chat = engine.chat(Sampling(max_tokens=40 * len(parameters)), adapter=adapter, slot="parameters")
        try:
            reply = chat.invoke([("system", system), ("user", task)], **engine.constrain(Json(schema, lenient=True)))
            given = json.loads(str(reply.content))
        except (MetierError, ValueError):  # cut off, or the engine is busy with too much: then the user is asked
            return {}
        return {name: value for name, value in given.items() if value is not None}

    return guess


# A plan that worked, kept with slots.


def generalise(plan: Plan, task: str, name: str, *, today: date | None = None) -> Plan:
    """A plan that was made for one task, as a workflow for all tasks like it.

    Days, numbers, codes and names that both the task and the steps say become parameters; the task with slots in their
    places is the workflow's example.

    Args:
        plan: As it ran.
        task: What it was made for.
        name: What the workflow is called.
        today: The day of the run.
    """
    steps = plan.model_dump(mode="json", by_alias=True, exclude_defaults=True)["steps"]
    said = "\n".join(_texts(steps))
    slots = {value: parameter for value, parameter in _slots(task, today or date.today()) if value in said}
    parameters, example = dict[str, Parameter](), task
    for value, (wanted, parameter) in sorted(slots.items(), key=lambda item: -len(item[0])):
        slot = _free(wanted, {*parameters, *steps})
        if _bounded(value).search(example):
            parameters[slot] = parameter
            example = _bounded(value).sub(f"{{{slot}}}", example)
            steps = _replaced(steps, value, f"{{{{ {slot} }}}}")
    ordered = {slot: parameters[slot] for slot in SLOT.findall(example) if slot in parameters}
    examples = (example, *(e for e in plan.examples if e != task))
    update = {"name": name, "examples": examples, "parameters": ordered, "steps": steps}
    return Plan.model_validate({**plan.model_dump(mode="json", by_alias=True), **update})


def keep_plan(plan: Plan, root: Path) -> Path:
    """Write a workflow beside the team's others; the router knows it after the next build.

    Args:
        root: The team's folder.

    Raises:
        ConfigError: there is a workflow of that name.
    """
    path = root / FOLDER / f"{plan.name}.yaml"
    if plan.name in read_plans(root) or path.exists():
        raise ConfigError(f"there is a workflow '{plan.name}' already", file=path, hint="keep it under another name")
    path.parent.mkdir(exist_ok=True)
    write_plan(plan, path)
    return path


def _slots(task: str, today: date) -> Iterator[tuple[str, tuple[str, Parameter]]]:
    """What a task names, as it stands there, with a parameter for it."""
    days = days_in(task, today)
    for day in days:
        yield task[day.start : day.end], ("date", Parameter(description="Which day"))
    rest = task
    for day in days:
        rest = rest.replace(task[day.start : day.end], " ")
    for quoted in re.findall(r"[\"“„]([^\"“”„]+)[\"”“]", rest):
        yield quoted, ("text", Parameter(description="Which text"))
    known = codes(rest)
    for code in re.findall(r"[\w-]*\d[\w-]*", rest):
        if code.lower() in known:
            yield code, ("code", Parameter(description="Which one"))
        elif code.isdigit():
            yield code, ("number", Parameter(type="integer", description="How many"))
    for name in proper_names(rest):
        # The first word of a task has a capital, whatever it is.
        first, _, others = name.partition(" ")
        said = [name, others] if rest.startswith(name) and others else [name] if not rest.startswith(first) else []
        for text in said:
            if text.lower() not in known and not text.isdigit():
                yield text, ("name", Parameter(description="Which one"))


def _free(wanted: str, taken: set[str]) -> str:
    return next(
        name for number in range(1, 100) if (name := wanted if number == 1 else f"{wanted}_{number}") not in taken
    )


def _bounded(value: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(value)}(?![\w-])")


def _texts(steps: Any) -> Iterator[str]:
    if isinstance(steps, str):
        yield steps
    elif isinstance(steps, Mapping | list):
        for part in steps.values() if isinstance(steps, Mapping) else steps:
            yield from _texts(part)


def _replaced(steps: Any, value: str, slot: str) -> Any:
    """The value's places in the texts of steps, names of fields left alone."""
    if isinstance(steps, str):
        return _bounded(value).sub(lambda _: slot, steps)
    if isinstance(steps, Mapping):
        return {name: part if name in _FIXED else _replaced(part, value, slot) for name, part in steps.items()}
    return [_replaced(part, value, slot) for part in steps] if isinstance(steps, list) else steps


_FIXED = ("ask", "tool", "kind", "on_failure", "after", "workflow", "as")
"""Fields of steps that hold names, and no text."""
