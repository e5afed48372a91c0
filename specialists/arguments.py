"""Mends the optional arguments of a call by what was said: a small model guesses some and overlooks others.

Counted on the 864 calls of the Berkeley leaderboard's rows that are learnt from: see each rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.types import ToolCall
from .functions import Function
from .said import Said, numbers_in, spelled, stems

_EMPTY = {"is", "has", "include", "includes", "show", "get", "only", "use", "enable", "allow", "allowed", "add", "with"}
"""Words of a switch's name that say nothing about what it switches."""


def mend(call: ToolCall, function: Function, task: str, known: str = "") -> ToolCall:
    """The call without optional arguments that nobody said, and with those that the task says plainly.

    Args:
        task: The request.
        known: What else the model was shown; what stands there may be an argument, but nothing is added for it.
    """
    parameters = function.get("parameters") or {}
    properties: Mapping[str, Any] = parameters.get("properties", {})
    optional = {name: _set(schema) for name, schema in properties.items() if name not in parameters.get("required", ())}
    said, all_said = Said(task), Said(f"{task} {known}")
    if not _same_language(all_said, function):
        return call
    kept = {n: v for n, v in call.arguments.items() if n not in optional or _grounded(n, v, optional[n], all_said)}
    free = {name: schema for name, schema in optional.items() if name not in kept}
    for rule in (_choices, _switches, _counts):
        kept |= {n: v for n, v in rule(free, kept, said, function) if n not in kept}
    ordered = {name: kept[name] for name in properties if name in kept}
    return call.model_copy(update={"arguments": {**ordered, **kept}})


def _set(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an argument is when it is not null: pydantic writes `int | None` as an `anyOf`."""
    return {**schema, **next((o for o in schema.get("anyOf", ()) if o.get("type") != "null"), {})}


def _same_language(said: Said, function: Function) -> bool:
    """Whether what was said and the function's description share words, were it `for` and `the`: a program cannot see
    that `mit Frühstück` says `breakfast`."""
    properties = (function.get("parameters") or {}).get("properties", {})
    texts = [function.get("description") or "", *(schema.get("description") or "" for schema in properties.values())]
    return len(stems(" ".join([*texts, *map(spelled, properties)])) & said.stems) > 1


def _grounded(name: str, value: Any, schema: Mapping[str, Any], said: Said) -> bool:
    """Whether the value of an optional argument may come from what was said."""
    if isinstance(value, bool):
        return bool(stems(spelled(name)) & said.stems)
    if isinstance(value, int | float):
        return said.number(value)
    if isinstance(value, str) and "enum" not in schema:
        return any(c.isdigit() for c in value) or bool(stems(value) & said.stems) or not stems(value)
    return True


def _choices(
    free: Mapping[str, Any], kept: Mapping[str, Any], said: Said, function: Function
) -> Iterator[tuple[str, Any]]:
    """A value of a list that is said in so many words, and that no other argument has."""
    if said.negated:
        return
    used = " ".join(map(str, kept.values())).lower()
    for name, schema in free.items():
        values = [v for v in schema.get("enum", ()) if isinstance(v, str) and len(v) > 2 and said.words(v)]
        if len(values) == 1 and values[0].lower() not in used:
            yield name, values[0]


def _switches(
    free: Mapping[str, Any], kept: Mapping[str, Any], said: Said, function: Function
) -> Iterator[tuple[str, Any]]:
    """A switch all of whose words are said, and are not what the function is about anyway."""
    about = stems(f"{spelled(function['name'])} {function.get('description') or ''} {[*kept.values()]}")
    for name, schema in free.items():
        words = stems(" ".join(word for word in spelled(name).split() if word not in _EMPTY))
        if schema.get("type") == "boolean" and words and words <= said.stems - about and not said.negated:
            yield name, True


def _counts(
    free: Mapping[str, Any], kept: Mapping[str, Any], said: Said, function: Function
) -> Iterator[tuple[str, Any]]:
    """The one number that no argument has, for the one that is named beside it."""
    used = set(numbers_in(dict(kept)))
    left = [number for number in said.numbers if number not in used]
    if len(left) == 1:
        takers = [
            n for n, schema in free.items() if _named(n, schema, said.numbers[left[0]], whole=left[0].is_integer())
        ]
        if len(takers) == 1:
            yield takers[0], int(left[0]) if left[0].is_integer() else left[0]


def _named(name: str, schema: Mapping[str, Any], near: set[str], *, whole: bool) -> bool:
    """Whether words beside a number name the argument. What counts things is often named by its description alone;
    what measures (`two sets` and the alpha of a test) is not."""
    counts = schema.get("type") == "integer"
    about = f"{spelled(name)} {schema.get('description') or ''}" if counts else spelled(name)
    return (schema.get("type") == "number" or (counts and whole)) and any(len(s) > 3 for s in stems(about) & near)
