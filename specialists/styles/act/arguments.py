"""Mends the optional arguments of a call by what was said: a small model guesses some and overlooks others.

Counted on the 864 calls of the Berkeley leaderboard's rows that are learnt from: see each rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ....core.types import ToolCall
from ...functions import Function

# What a text says, as far as a program can tell: its words, its numbers, and where it says no.


_WORD = re.compile(r"[^\W\d_]+")


_STEM = 5
"""Letters of a word that count, so that `comedies` meets `comedy` and `analyze` meets `analysis`. The stems of
`core/text.py` take 14 of 941 right calls for invented instead of 11, and find no more of the wrong ones."""


_WITHOUT_SPACES = re.compile(r"[\u2e80-\uffdc]")
"""Scripts whose words are not set apart: single characters count there."""


_TOKEN = re.compile(r"[0-9]+(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|[^\W\d_]+")


_COUNTED = {
    word: n for n, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
}


_VAGUE = re.compile(
    r"\b(half|quarter|dozen|couple|pair|single|double|twice|once|hundred|thousand|"
    r"(seconds?|minutes?|hours?|days?|weeks?|months?|years?|today|tomorrow|yesterday))\b",
    re.IGNORECASE,
)


_NO = re.compile(r"\b(no|not|non|never|without|except|exclud\w*|regardless|dont|doesnt)\b|n['’]t\b", re.IGNORECASE)


def stems(text: str) -> set[str]:
    """The beginnings of a text's words, in small letters; numbers are no words."""
    words = (w.lower() for w in _WORD.findall(text))
    return {(w.removesuffix("s") or w)[:_STEM] for w in words} | set(_WITHOUT_SPACES.findall(text))


def spelled(name: str) -> str:
    """A name in code as words: `numPassengers` and `num_passengers` are `num passengers`."""
    return " ".join(w.lower() for w in _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)))


@dataclass(frozen=True)
class Utterance:
    """A text that was said."""

    text: str

    @cached_property
    def stems(self) -> set[str]:
        return stems(self.text)

    @cached_property
    def negated(self) -> bool:
        """Whether it says no to something; to what, a program cannot tell."""
        return bool(_NO.search(self.text))

    @cached_property
    def numbers(self) -> dict[float, set[str]]:
        """Its numbers, in digits or as words, and the stems of the three words on either side of each."""
        found: dict[float, set[str]] = {}
        tokens = [token.lower() for token in _TOKEN.findall(self.text)]
        for at, token in enumerate(tokens):
            number = _number(token)
            if number is not None:
                near = tokens[max(0, at - 3) : at] + tokens[at + 1 : at + 4]
                found.setdefault(number, set()).update(stems(" ".join(near)))
        return found

    def words(self, phrase: str) -> bool:
        """Whether the phrase stands in it, whole words, whatever the case."""
        return bool(_plain(phrase)) and f" {_plain(phrase)} " in f" {_plain(self.text)} "

    def number(self, value: float) -> bool:
        """Whether it may have said this number: its digits stand there (20 % for 0.2, '19 for 2019), or a number may be
        hidden in its words (`half an hour`, `a dozen`)."""
        if _VAGUE.search(self.text) or _WITHOUT_SPACES.search(self.text):
            return True
        if value == 1 and self.words("one"):
            return True
        digits = _digits(value)
        return any(digits.endswith(other) for other in map(_digits, self.numbers))


def numbers_in(values: object) -> Iterator[float]:
    """All numbers in the arguments of a call, those in texts too."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from numbers_in(value)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield from (float(values), round(values * 100, 6))
    elif isinstance(values, str):
        yield from (float(digits) for digits in re.findall(r"\d+", values))
        yield from Utterance(values).numbers


def _number(token: str) -> float | None:
    if token[0] in "0123456789":
        return float(token.replace(",", ""))
    return float(_COUNTED[token]) if token in _COUNTED and token != "one" else None


def _digits(value: float) -> str:
    return re.sub(r"\D", "", f"{value:.6f}").strip("0") or "0"


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.replace("_", " ").lower()))


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
    optional = {
        name: unless_null(schema) for name, schema in properties.items() if name not in parameters.get("required", ())
    }
    said, all_said = Utterance(task), Utterance(f"{task} {known}")
    if not same_language(all_said, function):
        return call
    kept = {n: v for n, v in call.arguments.items() if n not in optional or _grounded(n, v, optional[n], all_said)}
    free = {name: schema for name, schema in optional.items() if name not in kept}
    for rule in (_choices, _switches, _counts):
        kept |= {n: v for n, v in rule(free, kept, said, function) if n not in kept}
    ordered = {name: kept[name] for name in properties if name in kept}
    return call.model_copy(update={"arguments": {**ordered, **kept}})


def unless_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an argument is when it is not null: pydantic writes `int | None` as an `anyOf`."""
    return {**schema, **next((o for o in schema.get("anyOf", ()) if o.get("type") != "null"), {})}


def same_language(said: Utterance, function: Function) -> bool:
    """Whether what was said and the function's description share words, were it `for` and `the`: a program cannot see
    that `mit Frühstück` says `breakfast`."""
    properties = (function.get("parameters") or {}).get("properties", {})
    texts = [function.get("description") or "", *(schema.get("description") or "" for schema in properties.values())]
    return len(stems(" ".join([*texts, *map(spelled, properties)])) & said.stems) > 1


def _grounded(name: str, value: Any, schema: Mapping[str, Any], said: Utterance) -> bool:
    """Whether the value of an optional argument may come from what was said."""
    if isinstance(value, bool):
        return bool(stems(spelled(name)) & said.stems)
    if isinstance(value, int | float):
        return said.number(value)
    if isinstance(value, str) and "enum" not in schema:
        return any(c.isdigit() for c in value) or bool(stems(value) & said.stems) or not stems(value)
    return True


def _choices(
    free: Mapping[str, Any], kept: Mapping[str, Any], said: Utterance, function: Function
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
    free: Mapping[str, Any], kept: Mapping[str, Any], said: Utterance, function: Function
) -> Iterator[tuple[str, Any]]:
    """A switch all of whose words are said, and are not what the function is about anyway."""
    about = stems(f"{spelled(function['name'])} {function.get('description') or ''} {[*kept.values()]}")
    for name, schema in free.items():
        words = stems(" ".join(word for word in spelled(name).split() if word not in _EMPTY))
        if schema.get("type") == "boolean" and words and words <= said.stems - about and not said.negated:
            yield name, True


def _counts(
    free: Mapping[str, Any], kept: Mapping[str, Any], said: Utterance, function: Function
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


# Calls with texts that nobody said: a model that has to fill an argument makes up a city rather than leave it.


def invented(call: ToolCall, function: Function, said: str) -> bool:
    """Whether the call has texts that it needs, and not one of them shares a word with what was said.

    Numbers, dates and values from a list do not count: they are computed and chosen rather than said. Of the 941 right
    calls of the Berkeley leaderboard's rows, 1.3 % are invented by this measure.
    """
    known = stems(said)
    texts = [stems(text) for text in _texts(call, function)]
    needed = [words for words in texts if words]
    return bool(needed) and not any(words & known for words in needed)


def _texts(call: ToolCall, function: Function) -> Iterator[str]:
    """The texts of required arguments that may be anything."""
    parameters = function.get("parameters") or {}
    for name in parameters.get("required", ()):
        schema: dict[str, Any] = parameters.get("properties", {}).get(name, {})
        value = call.arguments.get(name)
        if isinstance(value, str | list) and "enum" not in schema and "enum" not in schema.get("items", {}):
            yield " ".join(leaves(value))


def leaves(value: Any) -> Iterator[str]:
    """All texts and numbers in a value, however deep."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
