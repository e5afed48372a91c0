"""Prompts with made-up functions: several requests about the same few, each with its call, its calls, or none."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

from ...core.types import ToolCall
from ..functions import NO_CALL, called, write_call
from ..renderer import Shot, render
from ..selection import SHOWN
from .call_kinds import Context, Kind, Said, kind
from .call_vary import camel
from .call_worlds import Chain, Made, World, read_worlds
from .example import TrainingExample

RESULTS = ("done", "success", "{'status': 'ok'}", "42", "17.5", "3 rows", "true", "['a', 'b']", "id 00000318")
"""What a call may have given whose result nobody needs."""

TURNS = 4
"""Requests in one prompt; reading the functions costs more than all of them."""

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
            turns += prompt.none() if dice.random() < 0.2 else prompt.single()
        *shots, last = turns
        system = {"functions": [staged.spec for staged in prompt.staged], "instructions": prompt.day}
        yield TrainingExample(render("call", last.task, facts=last.facts, shots=shots, **system), last.answer)


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
