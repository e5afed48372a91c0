"""Made-up functions with requests for them, so that the skill `call` meets many ways to say an argument.

Long, for it is one catalogue of kinds of values and what is said of them.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from metier.benchmarks.skills.call_data import camel
from metier.core.types import ToolCall
from metier.specialists.functions import NO_CALL, called, write_call
from metier.specialists.prompt import Shot, TrainingExample
from metier.specialists.styles.act.shown_tools import SHOWN
from metier.specialists.styles.act.style import ACT, shown_functions

FILE = Path(__file__).with_name("call_worlds.yaml")
"""The functions, and how they are written down."""


@dataclass(frozen=True)
class Argument:
    """An argument, as the file describes it."""

    name: str
    optional: bool
    kind: str
    about: str


@dataclass(frozen=True)
class Made:
    """A made-up function."""

    name: str
    about: str
    arguments: list[Argument] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """One call of a chain: values by the names of its arguments, and the fields of the records that it gives."""

    function: str
    arguments: Sequence[str]
    gives: Mapping[str, str]
    """Field to its kind; empty where the value of that name is known already, `=name` where another one is meant."""


@dataclass(frozen=True)
class Chain:
    """A request that needs calls one after the other."""

    request: str
    every: bool
    """Whether the later calls are made for each record that was found."""
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True)
class World:
    """Functions of one field."""

    functions: list[Made] = field(default_factory=list)
    none: list[str] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)

    def function(self, name: str) -> Made:
        return next(f for f in self.functions if f.name == name)


def read_worlds() -> tuple[dict[str, list[str]], list[World]]:
    """The pools of names, and all fields."""
    content = YAML(typ="safe").load(FILE)
    return {name: str(names).split("/") for name, names in content["pools"].items()}, [*map(_world, content["worlds"])]


def _world(block: str) -> World:
    world = World()
    for line in block.splitlines():
        head, _, rest = line.strip().partition(" ")
        match head:
            case "fn":
                name, about = _parts(rest)
                world.functions.append(Made(name, about))
            case ">":
                world.functions[-1].requests.append(rest)
            case "none":
                world.none.append(rest)
            case "chain":
                world.chains.append(Chain(rest.removeprefix("all "), rest.startswith("all ")))
            case "=":
                world.chains[-1].steps.append(_step(rest))
            case _:
                world.functions[-1].arguments.append(_argument(line.strip()))
    return world


def _argument(line: str) -> Argument:
    head, about = _parts(line)
    name, _, kind = head.partition(": ")
    return Argument(name.removesuffix("?"), name.endswith("?"), kind, about)


def _step(text: str) -> Step:
    call, _, gives = text.partition(" -> ")
    function, *arguments = call.split()
    return Step(function, arguments, dict(_fields(gives)))


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, map(str.strip, text.split(";"))):
        name, equals, other = part.partition("=")
        if equals and ":" not in name:
            yield name, f"={other}"
        else:
            name, _, kind = part.partition(":")
            yield name, kind


def _parts(text: str) -> tuple[str, str]:
    head, _, about = text.partition(" | ")
    return head, about


# Dates, times and durations of made-up requests: as people say them, and as a function wants them written.

Draw = Callable[[], tuple[str, Any]]
"""Gives a value as it is said, and as it is written."""

Maker = Callable[[random.Random, date | None], tuple[str, Draw]]
"""Chance, and the day of the request (None: not known) → what the description says of the format, and `Draw`."""

_DATES = {
    "YYYY-MM-DD": "%Y-%m-%d",
    "DD/MM/YYYY": "%d/%m/%Y",
    "MM/DD/YYYY": "%m/%d/%Y",
    "DD.MM.YYYY": "%d.%m.%Y",
    "Month D, YYYY": "%B {day}, %Y",
}

_MONTHS = {"MM-YYYY": "%m-%Y", "YYYY-MM": "%Y-%m", "Month YYYY": "%B %Y"}


_CLOCKS = ("HH:MM in 24-hour format", "HH:MM", "H:MM AM/PM")


def dates(dice: random.Random, today: date | None) -> tuple[str, Draw]:
    """Days: `April 2nd, 2024`, `tomorrow`."""
    shape = dice.choices([*_DATES], (6, 1, 1, 1, 1))[0]

    def draw() -> tuple[str, str]:
        text, day = _day(dice, today)
        return text, _written_day(day, _DATES[shape])

    return _format(dice, shape, _written_day(_any_day(dice), _DATES[shape])), draw


def months(dice: random.Random, today: date | None) -> tuple[str, Draw]:
    """Months: `April 2024`."""
    shape = dice.choice([*_MONTHS])

    def draw() -> tuple[str, str]:
        day = _any_day(dice)
        return day.strftime(dice.choice(("%B %Y", "%b %Y", "%m/%Y"))), day.strftime(_MONTHS[shape])

    return _format(dice, shape, _any_day(dice).strftime(_MONTHS[shape])), draw


def clock(dice: random.Random, today: date | None) -> tuple[str, Draw]:
    """Times of day: `half past four in the afternoon`."""
    shape = dice.choice(_CLOCKS)

    def draw() -> tuple[str, str]:
        hour, minute = dice.randrange(7, 22), dice.choice((0, 0, 0, 15, 30, 30, 45, dice.randrange(60)))
        text = _spoken(hour, minute, dice)
        return text, _clock(hour, minute) if shape.endswith("PM") else f"{hour:02}:{minute:02}"

    return f"in {shape}" if "format" in shape else f"in the format {shape}", draw


def moments(dice: random.Random, today: date | None) -> tuple[str, Draw]:
    """Day and time together: `May 3rd, 2024 at 4 pm`."""
    seconds = dice.choice((":00", ""))
    between = dice.choice((" ", " ", "T"))

    def draw() -> tuple[str, str]:
        text, day = _day(dice, today)
        hour, minute = dice.randrange(7, 22), dice.choice((0, 0, 15, 30, 45))
        return f"{text} at {_spoken(hour, minute, dice)}", f"{day}{between}{hour:02}:{minute:02}{seconds}"

    return f"in the format YYYY-MM-DD{between}HH:MM{':SS' if seconds else ''}", draw


def minutes(dice: random.Random, today: date | None) -> tuple[str, Draw]:
    """Durations, in the unit that the description names: `an hour and a half`."""
    unit, size = dice.choice((("minutes", 1), ("minutes", 1), ("seconds", 60), ("hours", 0)))
    said = {15: "a quarter of an hour", 30: "half an hour", 60: "an hour", 90: "an hour and a half", 120: "two hours"}

    def draw() -> tuple[str, int]:
        if not size:
            hours = dice.randrange(2, 13)
            return f"{hours} hours", hours
        number = dice.choice([*said, dice.randrange(5, 60), dice.randrange(5, 60)])
        return said[number] if number in said and dice.random() < 0.5 else f"{number} minutes", number * size

    return f"in {unit}", draw


def _format(dice: random.Random, shape: str, sample: str) -> str:
    return f"in the format {shape}" + (f", such as '{sample}'" if dice.random() < 0.5 else "")


def _any_day(dice: random.Random) -> date:
    return date(dice.randrange(2019, 2027), 1, 1) + timedelta(days=dice.randrange(365))


def _day(dice: random.Random, today: date | None) -> tuple[str, date]:
    """A day as it is said. The year is left out only where today's is known."""
    if today is None:
        day = _any_day(dice)
        shape = dice.choice(("{month} {nth}, {year}", "{nth} of {month} {year}", "{month} {day} {year}", "%Y-%m-%d"))
        return _written_day(day, shape), day
    ahead = dice.choice((0, 1, 1, dice.randrange(2, 25)))
    day = today + timedelta(days=ahead)
    if day.year != today.year:
        return _written_day(day, "{month} {nth}, {year}"), day
    names = {0: "today", 1: "tomorrow"}
    shape = names.get(ahead) or dice.choice(("{month} {nth}", "the {nth} of {month}", "{month} {day}"))
    return _written_day(day, shape), day


def _written_day(day: date, shape: str) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10 if day.day not in (11, 12, 13) else 0, "th")
    parts = {"day": day.day, "nth": f"{day.day}{suffix}", "month": day.strftime("%B"), "year": day.year}
    return day.strftime(shape.format(**parts))


def _clock(hour: int, minute: int) -> str:
    return f"{hour % 12 or 12}:{minute:02} {'AM' if hour < 12 else 'PM'}"


_HOURS = "twelve one two three four five six seven eight nine ten eleven".split()


def _spoken(hour: int, minute: int, dice: random.Random) -> str:
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    words = {0: f"{_HOURS[hour % 12]} o'clock", 15: f"quarter past {_HOURS[hour % 12]}"}
    words |= {30: f"half past {_HOURS[hour % 12]}", 45: f"quarter to {_HOURS[(hour + 1) % 12]}"}
    if minute in words and dice.random() < 0.3 and not (hour in (11, 17) and minute == 45):
        return f"{words[minute]} {part}"
    short = f"{hour % 12 or 12}{'' if minute == 0 else f':{minute:02}'}{'am' if hour < 12 else 'pm'}"
    return dice.choice((short, short.replace("am", " am").replace("pm", " pm"), f"{hour:02}:{minute:02}"))


# Kinds of arguments of made-up functions: the schema, and values as people say them and as a call writes them.

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
        drawn = [item.draw() for _ in range(at.dice.choice((1, 2, 2, 3, 3, 4)))]
        few = {repr(said.value): said for said in drawn}
        texts = [said.text for said in few.values()]
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


def _vector(rest: str, at: Context) -> Kind:
    """`vector 2-3`: coordinates, as many in one prompt as the first draw decides."""
    count = at.dice.randint(*map(int, rest.split("-")))

    def draw() -> Said:
        values = [at.dice.randint(0, 20) for _ in range(count)]
        if at.dice.random() < 0.2:
            values[0] = -values[0]
        return Said(at.dice.choice(("({})", "({})", "[{}]")).format(", ".join(map(str, values))), values)

    return Kind({"type": "array", "items": {"type": "integer"}}, "", draw)


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


def _time_kind(make: Maker) -> Callable[[str, Context], Kind]:
    def maker(rest: str, at: Context) -> Kind:
        note, draw = make(at.dice, at.today)
        whole = make is minutes
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
    "vector": _vector,
    "code": _code,
    "email": _email,
    "date": _time_kind(dates),
    "month": _time_kind(months),
    "time": _time_kind(clock),
    "moment": _time_kind(moments),
    "minutes": _time_kind(minutes),
}


# Prompts with made-up functions: several requests about the same few, each with its call, its calls, or none.

RESULTS = ("done", "success", "{'status': 'ok'}", "42", "17.5", "3 rows", "true", "['a', 'b']", "id 00000318")
"""What a call may have given whose result nobody needs."""

TURNS = 4
"""Requests in one prompt; reading the functions costs more than all of them."""

NONE = 0.26
"""Share of the requests that no function in their prompt fulfils."""

_SLOT = re.compile(r"\{([^{}=]+)(?:=([^}]*))?\}")


_CONSTANTS = {"true": True, "false": False}


class Request(NamedTuple):
    """A request as a person words it, and the values that it says."""

    text: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Staged:
    """A made-up function with the formats, the names and the arguments that it has in one prompt."""

    made: Made
    spec: dict[str, Any]
    kinds: Mapping[str, Kind]
    names: Mapping[str, str]
    """Argument as the file names it to its name here."""

    def call(self, values: Mapping[str, Any]) -> ToolCall:
        """The call with these values, in the order of the schema."""
        arguments = {self.names[name]: values[name] for name in self.kinds if name in values}
        return ToolCall(name=self.spec["name"], arguments=arguments)


def synthetic(dice: random.Random) -> Iterator[TrainingExample]:
    """Prompts without end."""
    pools, worlds = read_worlds()
    while True:
        world = dice.choice(worlds)
        prompt = Prompt(dice, pools, worlds, world)
        turns = [*prompt.chain()]
        while len(turns) < TURNS:
            turns += prompt.none() if dice.random() < NONE else prompt.single()
        *shots, last = turns
        shown = shown_functions([staged.spec for staged in prompt.staged])
        messages = ACT.prompt(last.task, facts=last.facts, shots=shots, system=shown, instructions=prompt.day)
        yield TrainingExample(messages, last.answer)


class Prompt:
    """The functions of one prompt, and requests for them."""

    def __init__(
        self, dice: random.Random, pools: Mapping[str, Sequence[str]], worlds: Sequence[World], world: World
    ) -> None:
        self.dice, self.world, self.worlds = dice, world, worlds
        today = date(2021, 1, 1) + timedelta(days=dice.randrange(2000)) if dice.random() < 0.3 else None
        self.at = Context(dice, pools, today)
        self.day = f"Now is {today} 09:00:00, a {today:%A}." if today else ""
        self._chain = dice.choice(world.chains) if world.chains and dice.random() < 0.6 else None
        self._style = dice.choice((str, str, camel))
        self.staged = [self._stage(made) for made in self._shown()]

    def single(self) -> list[Shot]:
        """A request that one call answers; at times, what comes after that call."""
        staged = self.dice.choice(self.staged)
        if not staged.made.requests:
            return []
        said = self.word(self.dice.choice(staged.made.requests), {**staged.kinds}.__getitem__)
        call = staged.call(said.values)
        after = called(call.model_copy(update={"result": self.dice.choice(RESULTS)}))
        turns = [Shot(said.text, _written(call))]
        return [*turns, Shot(said.text, NO_CALL, [after])] if self.dice.random() < 0.12 else turns

    def none(self) -> list[Shot]:
        """A request that no function here fulfils: related to them, of another field, or for a hidden neighbour."""
        shown = {staged.made.name for staged in self.staged}
        hidden = [made for made in self.world.functions if made.name not in shown and made.requests]
        wording = self.dice.choice(self.world.none)
        lookup: Callable[[str], Kind] = self._new
        if hidden and self.dice.random() < 0.2:
            made = self.dice.choice(hidden)
            wording, lookup = self.dice.choice(made.requests), self._kinds(made).__getitem__
        elif self.dice.random() < 0.3:
            other = self.dice.choice([world for world in self.worlds if world is not self.world])
            wording = self.dice.choice(other.none)
        return [Shot(self.word(wording, lookup).text, NO_CALL)]

    def chain(self) -> Iterator[Shot]:
        """Calls that use what earlier ones gave, and then none; nothing where the prompt has no chain."""
        if self._chain is None:
            return
        here = {staged.made.name: staged for staged in self.staged}
        kinds: dict[str, Kind] = {}
        for step in reversed(self._chain.steps):
            kinds |= here[step.function].kinds
        said = self.word(self._chain.request, kinds.__getitem__)
        rows: list[dict[str, Any]] = [dict(said.values)]
        facts: list[str] = []
        for step in self._chain.steps:
            staged, found = here[step.function], list[dict[str, Any]]()
            for row in rows:
                call = staged.call({name: row[name] for name in step.arguments})
                yield Shot(said.text, _written(call), [*facts])
                records = [*self._records(step.gives, row, self._chain)]
                result = _result(records, self.dice) if step.gives else self.dice.choice(("done", "ok", "success"))
                facts.append(called(call.model_copy(update={"result": result})))
                found += [{**row, **record} for record in records] if step.gives else [row]
            rows = found
        yield Shot(said.text, NO_CALL, facts)

    def word(self, wording: str, lookup: Callable[[str], Kind]) -> Request:
        """One wording with values; parts in brackets are said or not."""
        text = re.sub(r"\[([^\]]*)\]", lambda m: m[1] if self.dice.random() < 0.5 else "", wording)
        text = re.sub(r"<([^>]*)>", lambda m: self.dice.choice(m[1].split("|")), text)
        values: dict[str, Any] = {}

        def fill(slot: re.Match[str]) -> str:
            name, constant = slot[1], slot[2]
            if constant is not None:
                values[name] = _constant(constant, lookup(name))
                return ""
            said: Said = lookup(name).draw()
            values[name] = said.value
            # `$twelve` and `threex` are nothing that people write.
            beside = text[slot.start() - 1 : slot.start()] + text[slot.end() : slot.end() + 1]
            return str(said.value) if isinstance(said.value, int) and re.search(r"[$=x^:]", beside) else said.text

        filled = re.sub(r"\s+(?=[\s,.?])", "", _SLOT.sub(fill, text)).strip()
        filled = re.sub(r"\bon (?=to(?:day|morrow)\b)", "", filled)
        return Request(filled[0].upper() + filled[1:] if self.dice.random() < 0.8 else filled, values)

    def _new(self, spec: str) -> Kind:
        """A kind that belongs to no argument, for requests that nothing fulfils."""
        return kind(spec, self.at)

    def _shown(self) -> list[Made]:
        """The chain's functions and others of the field, at most `SHOWN`; at times one of another field."""
        needed = list(dict.fromkeys(step.function for step in self._chain.steps)) if self._chain else []
        chosen = [self.world.function(name) for name in needed]
        others = [made for made in self.world.functions if made.name not in needed and made.requests]
        count = max(len(chosen), self.dice.choice((1, 2, SHOWN, SHOWN, SHOWN)))
        chosen += self.dice.sample(others, min(len(others), count - len(chosen)))
        if len(chosen) > 1 and not self._chain and self.dice.random() < 0.2:
            stranger = self.dice.choice(self.dice.choice(self.worlds).functions)
            chosen[0] = stranger if stranger not in chosen else chosen[0]
        self.dice.shuffle(chosen)
        return chosen

    def _kinds(self, made: Made) -> dict[str, Kind]:
        return {argument.name: kind(argument.kind, self.at) for argument in made.arguments}

    def _stage(self, made: Made) -> Staged:
        kinds = self._kinds(made)
        names = {name: self._style(name) for name in kinds}
        properties: dict[str, Any] = {}
        for argument in made.arguments:
            of = kinds[argument.name]
            about = f"{argument.about.rstrip('.')}, {of.note}." if of.note else argument.about
            if argument.optional and "efault" not in about and self.dice.random() < 0.4:
                about = f"{about.rstrip('.')}. {self._default(of)}"
            properties[names[argument.name]] = of.schema | {"description": about}
        required = [names[argument.name] for argument in made.arguments if not argument.optional]
        parameters = {"type": "object", "properties": properties, "required": required}
        spec = {"name": self._style(made.name), "description": made.about, "parameters": parameters}
        return Staged(made, spec, kinds, names)

    def _default(self, of: Kind) -> str:
        """What holds when the argument is left out: it need not be said."""
        value = self.dice.choice((True, False)) if of.schema["type"] == "boolean" else of.draw().value
        shown = value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)
        return self.dice.choice(("Default is {}.", "Defaults to {}.", "If not given, {}.")).format(shown)

    def _records(self, gives: Mapping[str, str], known: Mapping[str, Any], chain: Chain) -> Iterator[dict[str, Any]]:
        for _ in range(self.dice.choice((1, 2, 3)) if chain.every else 1):
            record: dict[str, Any] = {}
            for name, spec in gives.items():
                same = spec[1:] if spec.startswith("=") else name
                record[name] = known[same] if same in known and not (spec and same == name) else self._drawn(spec)
            yield record

    def _drawn(self, spec: str) -> Any:
        return kind(spec, self.at).draw().value


def _written(call: ToolCall) -> str:
    return write_call(call.name, call.arguments)


def _constant(text: str, of: Kind) -> Any:
    """A value that the words of a request imply; of a list of values, as the schema spells it."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return next((value for value in of.schema.get("enum", ()) if value.lower() == text), text)


def _result(records: Sequence[Mapping[str, Any]], dice: random.Random) -> str:
    """Records as tools give them."""
    if len(records) == 1 and dice.random() < 0.3:
        return json.dumps(records[0])
    if dice.random() < 0.2:
        return "; ".join(", ".join(f"{name}: {value}" for name, value in record.items()) for record in records)
    return json.dumps(list(records))
