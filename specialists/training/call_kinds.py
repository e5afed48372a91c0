"""Kinds of arguments of made-up functions: the schema, and values as people say them and as a call writes them."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from . import call_times as times

WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split()


class Said(NamedTuple):
    """One value: as a request says it, and as the call has it."""

    text: str
    value: Any


class Context(NamedTuple):
    """What a kind is made of."""

    dice: random.Random
    pools: Mapping[str, Sequence[str]]
    """Name to values; a value may have an abbreviation behind `=`."""
    today: date | None
    """When the request is made, if the prompt tells it."""


@dataclass(frozen=True)
class Kind:
    """An argument's type in one function: the format that its description demands stays the same."""

    schema: dict[str, Any]
    note: str
    """What the description says of the format; may be empty."""
    draw: Callable[[], Said]


def kind(spec: str, at: Context) -> Kind:
    """A kind from its short form in `call_worlds.yaml`: `city`, `int 2-9`, `list dish`, `enum hot/cold` …

    Raises:
        KeyError: there is neither a maker nor a pool of that name.
    """
    head, _, rest = spec.strip().partition(" ")
    if head in _MAKERS:
        return _MAKERS[head](rest, at)
    return _name(at.pools[head], at)


def _name(values: Sequence[str], at: Context) -> Kind:
    such = f"such as '{at.dice.choice(values).split('=')[0]}'" if at.dice.random() < 0.3 else ""
    quoted = at.dice.random() < 0.15

    def draw() -> Said:
        value = at.dice.choice(values).split("=")[0]
        return Said(f"'{value}'" if quoted else value, value)

    return Kind({"type": "string"}, such, draw)


def _abbreviated(rest: str, at: Context) -> Kind:
    """`brief currency`: the abbreviation if the description says so, else the name."""
    brief = at.dice.random() < 0.6
    pairs = [value.split("=") for value in at.pools[rest]]

    def draw() -> Said:
        name, code = at.dice.choice(pairs)
        return Said(code if at.dice.random() < 0.15 else name, code if brief else name)

    sample = at.dice.choice(pairs)[int(brief)]
    return Kind({"type": "string"}, f"as a code such as '{sample}'" if brief else f"by name, such as '{sample}'", draw)


def _city_state(rest: str, at: Context) -> Kind:
    whole = at.dice.random() < 0.6
    pairs = [value.split("=") for value in at.pools["us_city"]]

    def draw() -> Said:
        city, state = at.dice.choice(pairs)
        full = f"{city}, {state}"
        return Said(full if at.dice.random() < 0.5 else city, full if whole else city)

    note = f"in the format 'City, State', such as '{', '.join(at.dice.choice(pairs))}'"
    return Kind({"type": "string"}, note if whole else "", draw)


def _integer(rest: str, at: Context) -> Kind:
    low, high = map(int, rest.split("-"))
    return Kind({"type": "integer"}, "", lambda: _count(at.dice.randint(low, high), at.dice))


def _count(number: int, dice: random.Random) -> Said:
    if number < len(WORDS) and dice.random() < 0.5:
        return Said(WORDS[number], number)
    return Said(f"{number:,}" if number > 9999 and dice.random() < 0.5 else str(number), number)


def _number(rest: str, at: Context) -> Kind:
    low, high = map(float, rest.split("-"))

    def draw() -> Said:
        value = round(at.dice.uniform(low, high), at.dice.choice((0, 1, 2)))
        plain = int(value) if value == int(value) else value
        return Said(str(plain), plain)

    return Kind({"type": "number"}, "", draw)


def _percent(rest: str, at: Context) -> Kind:
    share = at.dice.random() < 0.5

    def draw() -> Said:
        value = at.dice.choice((1, 2, 2.5, 3, 4, 5, 7.5, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75))
        sign = at.dice.choice(("%", " %", " percent"))
        return Said(f"{value}{sign}", round(value / 100, 4) if share else value)

    return Kind({"type": "number"}, "as a fraction, 0.1 for 10 %" if share else "in percent", draw)


def _enum(rest: str, at: Context) -> Kind:
    """`enum hot/cold=icy;chilled`: values, and other words for them."""
    style = at.dice.choice((str, str, str, str.upper, str.capitalize))
    options = [(style(value), said.split(";") if said else []) for value, _, said in _split(rest)]
    note, schema = "", {"type": "string", "enum": [value for value, _ in options]}
    if at.dice.random() < 0.15:
        note, schema = "one of " + ", ".join(f"'{value}'" for value, _ in options), {"type": "string"}

    def draw() -> Said:
        value, said = at.dice.choice(options)
        plain = value.lower().replace("_", " ")
        return Said(at.dice.choice([*said, *said, plain]), value)

    return Kind(schema, note, draw)


def _split(rest: str) -> list[tuple[str, str, str]]:
    return [option.partition("=") for option in rest.split("/")]


def _flag(rest: str, at: Context) -> Kind:
    """Said by the wording alone, never drawn for it."""
    return Kind({"type": "boolean"}, "", lambda: Said("", True))


def _list(rest: str, at: Context) -> Kind:
    item = kind(rest, at)

    def draw() -> Said:
        few = {said.text: said for said in (item.draw() for _ in range(at.dice.choice((1, 2, 2, 3, 3, 4))))}
        texts = list(few)
        if isinstance(next(iter(few.values())).value, int | float) and at.dice.random() < 0.5:
            texts = [str(said.value) for said in few.values()]
            return Said(f"[{', '.join(texts)}]", [said.value for said in few.values()])
        joined = ", ".join(texts[:-1]) + at.dice.choice((" and ", ", ", " and ")) + texts[-1]
        return Said(joined if len(texts) > 1 else texts[0], [said.value for said in few.values()])

    return Kind({"type": "array", "items": item.schema}, item.note, draw)


def _object(rest: str, at: Context) -> Kind:
    """`object street:street; town:city`: said as its parts."""
    parts = {name.strip(): kind(spec, at) for name, _, spec in (p.partition(":") for p in rest.split(";"))}
    named = at.dice.random() < 0.5

    def draw() -> Said:
        drawn = {name: part.draw() for name, part in parts.items()}
        texts = [f"{name.replace('_', ' ')} {said.text}" if named else said.text for name, said in drawn.items()]
        return Said(", ".join(texts), {name: said.value for name, said in drawn.items()})

    properties = {name: part.schema for name, part in parts.items()}
    return Kind({"type": "object", "properties": properties, "required": [*parts]}, "", draw)


_PAIRS = ("{0}:{2} {1}:{3}", "{3} - {2}", "{2} by {3}", "{2} ({3})", "{0}={2}; {1}={3}")


def _pair(rest: str, at: Context) -> Kind:
    """`pair song artist`: two names in one text, in the format that the description shows."""
    first, second = rest.split()
    form = at.dice.choice(_PAIRS)
    note = f"in the format '{form.format(first, second, first.capitalize() + ' Name', second.capitalize() + ' Name')}'"

    def draw() -> Said:
        one, other = (at.dice.choice(at.pools[name]).split("=")[0] for name in (first, second))
        text = at.dice.choice((f"{one} by {other}", f"'{one}' by {other}", f"{other}'s {one}"))
        return Said(text, form.format(first, second, one, other))

    return Kind({"type": "string"}, note, draw)


def _point(rest: str, at: Context) -> Kind:
    def draw() -> Said:
        north, east = round(at.dice.uniform(-60, 70), 2), round(at.dice.uniform(-179, 179), 2)
        if at.dice.random() < 0.5:
            return Said(f"({north}, {east})", [north, east])
        text = f"{abs(north)} {'N' if north > 0 else 'S'}, {abs(east)} {'E' if east > 0 else 'W'}"
        return Said(text, [north, east])

    note = "as [latitude, longitude], south and west negative"
    return Kind({"type": "array", "items": {"type": "number"}}, note, draw)


def _code(rest: str, at: Context) -> Kind:
    """`code INV-####`: `#` is a digit, `@` a letter."""

    def draw() -> Said:
        signs = {"#": string.digits, "@": string.ascii_uppercase}
        value = re.sub("[#@]", lambda m: at.dice.choice(signs[m[0]]), rest)
        return Said(value, value)

    return Kind({"type": "string"}, "", draw)


def _email(rest: str, at: Context) -> Kind:
    def draw() -> Said:
        name = at.dice.choice(at.pools["person"]).lower().replace(" ", at.dice.choice((".", "_", "")))
        value = f"{name}@{at.dice.choice(at.pools['domain'])}"
        return Said(value, value)

    return Kind({"type": "string"}, "", draw)


def _time_kind(make: times.Maker) -> Callable[[str, Context], Kind]:
    def maker(rest: str, at: Context) -> Kind:
        note, draw = make(at.dice, at.today)
        whole = make is times.minutes
        return Kind({"type": "integer" if whole else "string"}, note, lambda: Said(*draw()))

    return maker


_MAKERS: dict[str, Callable[[str, Context], Kind]] = {
    "brief": _abbreviated,
    "city_state": _city_state,
    "int": _integer,
    "num": _number,
    "percent": _percent,
    "enum": _enum,
    "flag": _flag,
    "list": _list,
    "object": _object,
    "pair": _pair,
    "point": _point,
    "code": _code,
    "email": _email,
    "date": _time_kind(times.dates),
    "month": _time_kind(times.months),
    "time": _time_kind(times.clock),
    "moment": _time_kind(times.moments),
    "minutes": _time_kind(times.minutes),
}
