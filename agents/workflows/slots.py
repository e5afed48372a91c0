"""What a task says for the parameters of a workflow: by match, and by the base as the last way.

A value is only taken where the task says it, word for word; what it does not say is asked for, not made up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from ...core.dates import days_in, without_days
from ...core.text import content_stems
from ...specialists.knowledge.bridge import proper_names
from ...specialists.styles.act.arguments import Utterance, spelled, stems
from .steps import Parameter

Guess = Callable[[Mapping[str, Parameter], str], Mapping[str, Any]]
"""Asks a language model for the values of parameters in a task."""

SLOT = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
"""A parameter in an example: `weekly report for {site}`."""
_NUMBERS = ("integer", "number")
_DAY_WORDS = {"date", "day", "deadline", "since", "until"}
_QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»]+)[\"“”„«»]|(?<!\w)['‘]([^'’]+)['’](?!\w)")


class Filled(NamedTuple):
    """A task's values for parameters."""

    values: dict[str, Any]
    """By name: what the task says, and defaults."""
    missing: tuple[str, ...]
    """Parameters without a default of which the task says nothing."""


def fill_slots(
    parameters: Mapping[str, Parameter],
    task: str,
    *,
    examples: Sequence[str] = (),
    today: date | None = None,
    guess: Guess | None = None,
) -> Filled:
    """The values of parameters that a task says.

    Args:
        parameters: What is wanted, by name.
        task: In the user's words.
        examples: Tasks of the workflow; where one says `{site}`, the words around tell the value in others.
        today: The day that `tomorrow` counts from; left out: today.
        guess: Asked for what no rule finds; only what the task says word for word is taken of its answer.
    """
    asked = Utterance(task)
    values = _aligned(parameters, task, examples, today or date.today())
    for rule in (_choices, _days, _numbers, _texts):
        free = {name: parameter for name, parameter in parameters.items() if name not in values}
        values |= rule(free, task, values, examples, today or date.today()) if free else {}
    missing = [name for name, wanted in parameters.items() if name not in values and wanted.required]
    if missing and guess:
        guessed = guess({name: parameters[name] for name in missing}, task)
        values |= {name: value for name, value in guessed.items() if name in missing and _said(value, asked)}
    defaults = {name: wanted.default for name, wanted in parameters.items() if not wanted.required}
    found = defaults | values
    return Filled(
        {name: found[name] for name in parameters if name in found},
        tuple(name for name in parameters if name not in found),
    )


def without_slots(example: str, parameters: Mapping[str, Parameter]) -> str:
    """An example as the router learns it: with a value, or the parameter's name, in place of each slot."""
    return SLOT.sub(lambda slot: _sample(slot[1], parameters.get(slot[1])), example)


def _sample(name: str, parameter: Parameter | None) -> str:
    if parameter and parameter.enum:
        return str(parameter.enum[0])
    return str(parameter.default) if parameter and parameter.default else spelled(name)


def _said(value: Any, asked: Utterance) -> bool:
    if isinstance(value, bool) or value in (None, ""):
        return False
    return asked.number(value) if isinstance(value, int | float) else asked.words(str(value))


# The words around a slot in an example.


def _aligned(parameters: Mapping[str, Parameter], task: str, examples: Iterable[str], today: date) -> dict[str, Any]:
    for example in examples:
        if not SLOT.search(example):
            continue
        match = _pattern(example).fullmatch(" ".join(task.split()).rstrip(" .?!"))
        if match is None:
            continue
        said = {name: text for name, text in match.groupdict().items() if name in parameters}
        read = {name: _typed(name, parameters[name], text, today) for name, text in said.items()}
        if read and all(value is not None for value in read.values()):
            return read
    return {}


def _pattern(example: str) -> re.Pattern[str]:
    pieces = SLOT.split(" ".join(example.split()).rstrip(" .?!"))
    names = set[str]()
    parts = [re.escape(piece) if place % 2 == 0 else _group(piece, names) for place, piece in enumerate(pieces)]
    return re.compile("".join(parts), re.IGNORECASE)


def _group(name: str, names: set[str]) -> str:
    again = name in names
    names.add(name)
    return f"(?P={name})" if again else f"(?P<{name}>.+?)"


def _typed(name: str, parameter: Parameter, said: str, today: date) -> Any:
    """What was said as a value of the parameter's type; None where it is none."""
    if parameter.enum:
        return next((value for value in parameter.enum if str(value).lower() == said.strip().lower()), None)
    if parameter.type in _NUMBERS:
        numbers = [number for number in Utterance(said).numbers if _fits(parameter, number)]
        return _number(parameter, numbers[0]) if len(numbers) == 1 else None
    if _is_day(name, parameter):
        days = days_in(said, today)
        return days[0].day.isoformat() if days else None
    return said.strip(" \"'“”„‘’") or None if parameter.type == "string" else None


def _is_day(name: str, parameter: Parameter) -> bool:
    """Is a text meant to be a day? Its pattern allows one, or its name or description says so."""
    if parameter.type != "string" or parameter.enum:
        return False
    if parameter.pattern:
        return bool(re.fullmatch(parameter.pattern, "2026-11-27")) and not re.fullmatch(parameter.pattern, "x")
    return bool(_DAY_WORDS & {*re.findall(r"[a-z]+", f"{spelled(name)} {parameter.description}".lower())})


# By type.


def _choices(
    free: Mapping[str, Parameter], task: str, taken: Mapping[str, Any], examples: Sequence[str], today: date
) -> dict[str, Any]:
    """The one value of a list that is said; where one is part of another, the longer."""
    asked, found = Utterance(task), dict[str, Any]()
    if asked.negated:
        return {}
    for name, parameter in free.items():
        said = [value for value in parameter.enum or () if asked.words(str(value))]
        said = [v for v in said if not any(v != w and str(v).lower() in str(w).lower() for w in said)]
        if len(said) == 1:
            found[name] = said[0]
    return found


def _days(
    free: Mapping[str, Parameter], task: str, taken: Mapping[str, Any], examples: Sequence[str], today: date
) -> dict[str, Any]:
    """Days in the order of the parameters, where the task names as many."""
    names = [name for name, parameter in free.items() if _is_day(name, parameter)]
    days = [found.day.isoformat() for found in days_in(task, today)]
    return dict(zip(names, days, strict=True)) if len(names) == len(days) else {}


def _numbers(
    free: Mapping[str, Parameter], task: str, taken: Mapping[str, Any], examples: Sequence[str], today: date
) -> dict[str, Any]:
    """The number beside which a parameter is named; else the only one, for the only parameter that needs one."""
    said = {n: near for n, near in Utterance(without_days(task, today)).numbers.items() if n not in taken.values()}
    wanted = {n: p for n, p in free.items() if p.type in _NUMBERS and not p.enum}
    found = dict[str, Any]()
    for name, parameter in wanted.items():
        about = {word for word in stems(f"{spelled(name)} {parameter.description}") if len(word) > 3}
        fitting = [number for number, near in said.items() if about & near and _fits(parameter, number)]
        if len(fitting) == 1:
            found[name] = _number(parameter, fitting[0])
    left = [number for number in said if number not in found.values()]
    needy = [name for name, parameter in wanted.items() if name not in found and parameter.required]
    if len(left) == len(needy) == 1 and _fits(wanted[needy[0]], left[0]):
        found[needy[0]] = _number(wanted[needy[0]], left[0])
    return found


def _texts(
    free: Mapping[str, Parameter], task: str, taken: Mapping[str, Any], examples: Sequence[str], today: date
) -> dict[str, Any]:
    """Quoted phrases, then names and codes that are in no example: where there are as many as parameters need."""
    wanted = [n for n, p in free.items() if p.type == "string" and not p.enum and p.required and not _is_day(n, p)]
    if not wanted:
        return {}
    quoted = [one or other for one, other in _QUOTED.findall(task)]
    if len(quoted) == len(wanted):
        return dict(zip(wanted, quoted, strict=True))
    common = " ".join([*(SLOT.sub(" ", example) for example in examples), *map(str, taken.values())])
    rest = without_days(task, today)
    names = [_without_first(name, rest, common) for name in proper_names(rest, common)]
    names = list(dict.fromkeys(filter(None, names)))
    names = [n for n in names if not any(n != other and content_stems(n) < content_stems(other) for other in names)]
    return dict(zip(wanted, names, strict=True)) if len(names) == len(wanted) else {}


def _without_first(name: str, text: str, common: str) -> str:
    """The name without a word that has its capital only from the sentence's beginning, as in `Reassign Anna Berg`."""
    first, _, others = name.partition(" ")
    begins = text.lstrip().startswith(first)
    return others if begins and (not others or content_stems(first) <= content_stems(common)) else name


def _fits(parameter: Parameter, number: float) -> bool:
    low, high = parameter.minimum, parameter.maximum
    whole = parameter.type != "integer" or float(number).is_integer()
    return whole and (low is None or number >= low) and (high is None or number <= high)


def _number(parameter: Parameter, number: float) -> int | float:
    return int(number) if parameter.type == "integer" else number
