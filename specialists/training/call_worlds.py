"""Made-up functions with requests for them, so that the skill `call` meets many ways to say an argument."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML

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
