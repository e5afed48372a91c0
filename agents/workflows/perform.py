"""One step at work: asked, called, computed, judged, written. The graph around it is in `execute.py`."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from langgraph.errors import GraphBubbleUp

from ...core.cells import numbers
from ...core.errors import ConfigError, InputError, MetierError, ToolDenied, ToolError, unknown
from ...core.run import Cancelled, Emit, Event, Plain, cancellable
from ...core.types import Answer, Brief, Citation, ToolCall, Touch, Usage
from ...memory.records import Records
from ...memory.store import Owner
from ...specialists.specialist import Specialist
from ...tools.builtin.calculator import calculate_value
from ...tools.policy import Approve, DecisionName, Reject, Respond
from ..cards import Blueprint, fingerprint
from ..graph import Routes
from ..journal import GraphJournal, ask_person, emit, listener
from ..threads import Threads
from .plan import (
    AskStep,
    CalculateStep,
    ConditionStep,
    JoinStep,
    Known,
    KnownSpecialist,
    KnownTool,
    PersonStep,
    Plan,
    ReportStep,
    Step,
    ToolStep,
)
from .report import WrittenReport, cited, write_report
from .results import (
    File,
    Number,
    ResultValue,
    Skipped,
    StepResult,
    Text,
    Truth,
    all_citations,
    of_answer,
    of_call,
    of_value,
    read_result,
    source_line,
    unconfirmed,
)
from .steps import Parameter, read_value
from .template import fill, fill_all, fill_text, show, uses

_LONG_SUM = 100_000
"""Characters of a calculation, which may have a whole column in it."""
_PAUSE = 0.1
"""Seconds before the second attempt; twice as long before each further one, up to `_LONGEST_PAUSE`."""
_LONGEST_PAUSE = 5.0
_LASTING = (InputError, ConfigError, ToolDenied)
"""Errors that the same attempt would meet again."""
_GIVES = {"sql": "table", "json": "data", "answer": "text", "quote": "text", "free": "text", "label": "text"}
"""The kinds of results that our own styles give."""
_CACHE = "step"
"""The kind of the records that hold results of steps with `cache`."""


class Colleagues(Protocol):
    """What workflows need of a team; a `Team` is one."""

    @property
    def threads(self) -> Threads: ...
    @property
    def blueprint(self) -> Blueprint: ...
    @property
    def specialists(self) -> Mapping[str, Specialist]: ...
    @property
    def router(self) -> Routes: ...
    def take(self, brief: Brief, specialist: str | None = None, *, emit: Emit) -> Answer: ...


class StepFailed(Exception):
    """A step could not be done. Its words are for people."""

    def __init__(self, reason: str, answer: Answer | None = None) -> None:
        super().__init__(reason)
        self.answer = answer

    @property
    def nearest(self) -> tuple[Citation, ...]:
        """What came nearest to an answer that nobody was sure of."""
        return self.answer.evidence if self.answer else ()

    @property
    def touched(self) -> tuple[Touch, ...]:
        """What that is made of."""
        return self.answer.touched if self.answer else ()

    @property
    def told(self) -> str:
        """The reason with that, for a person who decides."""
        return f"{self}{unconfirmed(self.nearest)}"


class _Broken(Exception):
    """Something failed at a specialist's, for a reason that may pass."""


Replan = Callable[[AskStep, str, Answer | None], Plan | None]
"""Takes a question apart that could not be answered: the step, its task, and the answer that was none (None after an
error) → a plan without parameters, or None where nothing better is known."""


@dataclass
class Making:
    """What a step is made with, and what making it took."""

    scope: dict[str, Any]
    """Parameters and results, by name."""
    team: Colleagues | None
    folder: Path
    """Where its files go."""
    owner: Owner
    cache: Records | None = None
    usage: Usage = field(default_factory=Usage)
    results: dict[str, ResultValue] = field(init=False)

    def __post_init__(self) -> None:
        self.results = {name: one for name, one in self.scope.items() if isinstance(one, ResultValue)}

    def touched(self, names: Sequence[str]) -> tuple[Touch, ...]:
        """What the results of these steps were made of."""
        return tuple(sorted({touch for name in names if name in self.results for touch in self.results[name].touched}))

    def needed(self) -> Colleagues:
        """The team.

        Raises:
            StepFailed: there is none.
        """
        if self.team is None:
            raise StepFailed("this plan was given no team to ask")
        return self.team


def perform(name: str, step: Step, making: Making) -> StepResult:
    """Do a step, with its attempts and its time.

    Raises:
        StepFailed: it cannot be done.
        GraphBubbleUp: a person must decide first.
        Cancelled: the run was called off.
    """
    if (left_out := _missing_input(step, making)) is not None:
        return left_out
    key = _cache_key(step, making) if step.cache else ""
    if key and making.cache and (known := making.cache.get(_CACHE, key)):
        return read_result(known.body)
    for attempt in range(1, step.attempts + 1):
        try:
            result = _once(name, step, making)
            break
        except StepFailed:
            raise
        except _LASTING as error:
            raise StepFailed(error.message) from error
        except (GraphBubbleUp, Cancelled):
            raise
        except Exception as error:  # a style, tool or agent of somebody else may raise anything
            words = _words(error)
            if attempt == step.attempts:
                tried = f" ({attempt} attempts)" if attempt > 1 else ""
                raise StepFailed(f"{words}{tried}") from error
            time.sleep(min(_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE))
    else:  # pragma: no cover
        raise AssertionError("at least one attempt is made")
    if key and making.cache:
        making.cache.put(_CACHE, key, making.owner, result.model_dump(mode="json"))
    return result


def _words(error: Exception) -> str:
    if isinstance(error, MetierError):
        return error.message
    return str(error) if isinstance(error, _Broken) else f"{type(error).__name__}: {error}"


def _missing_input(step: Step, making: Making) -> Skipped | None:
    """A step that is made of what was left out is left out, too; text and reports say so instead."""
    if isinstance(step, JoinStep | ReportStep | ConditionStep | PersonStep):
        return None
    for place, source in step.templates():
        if place[0] in ("when", "facts"):
            continue
        for name in sorted(uses(source).names):
            if isinstance(gone := making.results.get(name), Skipped):
                return Skipped(reason=f"'{name}' was left out: {gone.reason}")
    return None


def _once(name: str, step: Step, making: Making) -> StepResult:
    match step:
        case AskStep():
            return within(step.seconds, lambda: _ask(step, making))
        case ToolStep():
            return within(step.seconds, lambda: _call(step, making))
        case ReportStep():
            return within(step.seconds, lambda: _report(step, making))
        case CalculateStep():
            return _calculate(step, making)
        case ConditionStep():
            return Truth(value=bool(fill(step.condition, making.scope)))
        case JoinStep():
            citations = list[Citation]()
            text = fill_text(step.join, making.scope, cited(citations))
            whole = _with_all(citations, step, making)
            return Text(text=text, citations=whole, touched=making.touched([*step.names()]))
        case PersonStep():
            return _person(name, step, making)
    raise AssertionError(f"{step.kind} is a graph of its own")


def _with_all(seen: Sequence[Citation], step: Step, making: Making) -> tuple[Citation, ...]:
    """Those that stand in the text, in their order, and those of all other results that it was made of."""
    used = [making.results[name] for name in sorted(step.names()) if name in making.results]
    return tuple(dict.fromkeys([*seen, *(citation for result in used for citation in all_citations(result))]))


def _ask(step: AskStep, making: Making) -> StepResult:
    team, task = making.needed(), fill_text(step.task, making.scope)
    facts, sources = list[str](), list[str]()
    for fact in step.facts:
        names = uses(fact).names
        if not any(isinstance(making.results.get(name), Skipped) for name in names):
            facts.append(fill_text(fact, making.scope))
            sources += sorted(names)
    known = [making.results[name] for name in sources if name in making.results]
    brief = Brief(
        task=task,
        facts=tuple(facts),
        citations=tuple(dict.fromkeys(citation for result in known for citation in result.citations)),
        touched=making.touched([*step.names()]),
        hops=step.hops,
    )
    answer = team.take(brief, None if step.ask == "team" else step.ask, emit=partial(_inner, listener()))
    making.usage += answer.usage
    if answer.broken:
        raise _Broken(answer.reason)
    if answer.kind != "answer":
        raise StepFailed(answer.reason or answer.text, answer)
    return of_answer(answer)


def _inner(tell: Emit, event: Event) -> None:
    """What a specialist tells; that it has answered is told by the step."""
    if event.name != "answer":
        tell(event)


def _call(step: ToolStep, making: Making) -> StepResult:
    team = making.needed()
    known = known_of(team)
    found = known.tool(step.tool)
    if found is None:
        raise StepFailed(unknown("tool", step.tool, known.tools))
    owner, _, tool = found[0].partition(".")
    arguments = {name: _argument(value) for name, value in fill_all(step.arguments, making.scope).items()}
    call = ToolCall(name=tool, arguments=arguments)
    done, touched = team.specialists[owner].call(call, making.touched([*step.names()]))
    emit(Event(name="tool", specialist=owner, data={"name": tool, "arguments": arguments, "error": done.error}))
    if done.error is not None:
        raise StepFailed(f"{tool}: {done.error}")
    return of_call(done, touched)


def _argument(value: Any) -> Any:
    """What a tool is given for a result: a number, rows, text."""
    match value:
        case Number() | Truth():
            return value.value
        case ResultValue():
            return getattr(value, "rows", None) or getattr(value, "value", None) or str(value)
        case dict():
            return {name: _argument(part) for name, part in value.items()}
        case list() | tuple():
            return [_argument(part) for part in value]
    return value


def _calculate(step: CalculateStep, making: Making) -> Number:
    said = fill_text(step.calculate, making.scope, _in_a_sum)
    value = calculate_value(said, _LONG_SUM)
    if not hasattr(value, "magnitude"):
        return Number(value=value, unit=step.unit, citations=_with_all((), step, making))
    if step.unit:
        value = calculate_value(f"({said}) in {step.unit}", _LONG_SUM)
    unit = step.unit or str(value.units)
    return Number(value=float(value.magnitude), unit=unit, citations=_with_all((), step, making))


def _in_a_sum(value: Any) -> str:
    """A value as the calculator reads it: a list as its numbers, a number with a unit that it knows, text as one."""
    match value:
        case Number():
            return f"({value.value} {value.unit})" if _has_unit(value.unit) else f"({value.value!r})"
        case list() | tuple():
            return ", ".join(_in_a_sum(one) for one in _numbers(value))
        case bool() | int() | float():
            return f"({value!r})" if value < 0 else repr(value)
        case str() | Text():
            return next((_in_a_sum(one) for one in _numbers([str(value)])), str(value))
    return show(value)


def _has_unit(unit: str) -> bool:
    if not unit:
        return False
    try:
        return hasattr(calculate_value(f"1 {unit}"), "magnitude")
    except ToolError:
        return False


def _numbers(values: Sequence[Any]) -> list[Any]:
    """The values without those that are missing, texts read as the numbers that they are."""
    there = [value for value in values if value is not None]
    texts = [value for value in there if isinstance(value, str)]
    way = numbers(texts) if texts else None
    read = [way.read(value) if way and isinstance(value, str) else value for value in there]
    return [value for value in read if value is not None]


def _person(name: str, step: PersonStep, making: Making) -> StepResult:
    """Ask until the answer fits. Where the question holds what somebody found, the person sees where it stands."""
    rests_on = list[Citation]()
    question = fill_text(step.ask_person, making.scope, cited(rests_on))
    arguments: Plain = {"step": name, "question": question, **({"choices": [*step.choices]} if step.choices else {})}
    if rests_on:
        arguments["sources"] = [source_line(citation) for citation in rests_on]
    if step.type:
        arguments["type"] = step.type
    two = len(step.choices) == 2 or step.type == "boolean"
    allowed: tuple[DecisionName, ...] = ("approve", "reject", "respond") if two else ("respond",)
    why = f"step '{name}' asks: {question}"
    while True:
        call = ToolCall(name="ask_person", arguments=arguments)
        decided = ask_person(call, why, allowed)
        if isinstance(decided, Reject) and not two:
            raise StepFailed(decided.message)
        said = {Approve: _yes(step), Reject: _no(step)}.get(type(decided), getattr(decided, "message", ""))
        try:
            parameter = Parameter(type=step.type or "string", enum=step.choices)
            return of_value(read_value(said, parameter))
        except InputError as error:
            why = f"step '{name}' asks again, for {error.message}: {question}"


def _yes(step: PersonStep) -> Any:
    return step.choices[0] if step.choices else True


def _no(step: PersonStep) -> Any:
    return step.choices[-1] if step.choices else False


def _report(step: ReportStep, making: Making) -> File:
    name = fill_text(step.report, making.scope)
    path = making.folder / name
    if not path.resolve().is_relative_to(making.folder.resolve()):
        raise StepFailed(f"'{name}' leads out of the run's folder")
    written = WrittenReport.of(step.template, making.scope)
    citations = _with_all(written.citations, step, making)
    media = write_report(path, written.text, citations)
    return File(path=str(path), media=media, citations=citations, touched=making.touched([*step.names()]))


def ask_on_failure(name: str, reason: str) -> Approve | Reject | Respond:
    """What a person wants of a step that failed: try again (approve), leave it out (reject), or this as its result."""
    call = ToolCall(name="step_failed", arguments={"step": name, "error": reason})
    why = f"step '{name}' failed: {reason}. Approve: try again; reject: go on without; respond: this is its result"
    decided = ask_person(call, why, ("approve", "reject", "respond"))
    return decided if isinstance(decided, Approve | Respond) else Reject()


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """Do it in a thread of its own for so long. It is called off when it is late: it ends at its next event.

    Raises:
        TimeoutError: it took longer.
    """
    done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    late = threading.Event()

    def run() -> None:
        try:
            with cancellable(late.is_set):
                done.put((work(), None))
        except BaseException as problem:
            done.put((None, problem))

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), daemon=True, name="metier-step").start()
    try:
        result, problem = done.get(timeout=seconds)
    except queue.Empty:
        late.set()
        raise TimeoutError(f"it took longer than {seconds:g} s") from None
    if problem is not None:
        raise problem
    return result


def _cache_key(step: Step, making: Making) -> str:
    """The same for steps that would do the same: what is asked, and by which version it would be answered."""
    asked = step.model_dump(mode="json", exclude={"when", "after", "on_failure", "attempts", "seconds"})
    values = {name: _value(making.scope[name]) for name in sorted(step.names()) if name in making.scope}
    people = making.team.specialists.items() if making.team else ()
    versions = {name: one.version + one.seen for name, one in people}  # who may see less gets another answer
    return fingerprint(asked, values, versions, making.owner.tenant)


def _value(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, ResultValue) else value


_journal = GraphJournal()


def noted(work: Callable[[], Plain]) -> Plain:
    """What a piece of a step gives: done now, or noted before the run was interrupted."""
    return _journal.once(work)


def known_of(team: Colleagues, workflows: Mapping[str, Plan] | None = None) -> Known:
    """What there is around the plans of a team.

    Args:
        workflows: Its workflows, by name.
    """
    plan = team.blueprint
    specialists, tools = dict[str, KnownSpecialist](), dict[str, KnownTool]()
    for name, one in team.specialists.items():
        effects = one.effects
        outside = one.card.knowledge is not None or any(effect.untrusted_output for effect in effects.values())
        acts = any(effect.effect != "read" for effect in effects.values())
        if one.engine is not None:  # else nobody can ask it, and it has tools only
            specialists[name] = KnownSpecialist(gives=_GIVES.get(one.card.style, ""), acts=acts, untrusted=outside)
        for function in one.functions:
            tool = function["name"]
            tools[f"{name}.{tool}"] = KnownTool(
                effects=effects[tool], parameters=function.get("parameters", {}), repeatable=tool in one.repeatable
            )
    return Known(
        specialists=specialists,
        tools=tools,
        workflows=dict(workflows or {}),
        rules=plan.card.policy,
        people=team.threads.saver is not None,
    )
