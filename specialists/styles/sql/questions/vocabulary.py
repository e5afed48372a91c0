"""How people ask for amounts and places: in words that are not the column's name."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML

from ..schema import parts

# Small made-up databases to ask questions about, so that the skill `sql` meets many schemas.


_FILE = Path(__file__).with_name("sql_worlds.yaml")
"""The worlds, and how they are written down."""


@dataclass(frozen=True)
class Feature:
    """A column, as a world describes it."""

    name: str
    kind: str
    """`name`, `c`, `n`, `y`, `d`, `f` or `>`."""
    values: tuple[str, ...] = ()
    """Of a number: what its highest and lowest are called, if anything."""


@dataclass(frozen=True)
class Thing:
    """A table, as a world describes it."""

    noun: str
    plural: str
    features: tuple[Feature, ...] = field(default=())

    def of(self, *kinds: str) -> list[Feature]:
        return [f for f in self.features if f.kind in kinds]


World = Mapping[str, Thing]
"""Noun to table."""


def worlds() -> list[World]:
    """All of them."""
    return [{t.noun: t for t in map(_thing, block.splitlines())} for block in YAML(typ="safe").load(_FILE)]


def _thing(line: str) -> Thing:
    head, *columns = (part.strip() for part in line.split("|"))
    noun, plural = head.split()
    return Thing(noun, plural, tuple(map(_feature, columns)))


def _feature(text: str) -> Feature:
    head, _, values = text.partition("=")
    name, _, kind = head.removesuffix(">").partition(":")
    kind = ">" if head.endswith(">") else kind or "name"
    return Feature(name, kind, tuple(v for v in values.split("/") if v))


class Amount(NamedTuple):
    """A kind of amount."""

    names: str
    """Words of columns that hold it."""
    asks: tuple[str, ...]
    """Questions about one thing."""
    high: tuple[str, ...]
    """Which thing has the most of it."""
    low: tuple[str, ...]


_AMOUNTS = (
    Amount(
        "population inhabitants residents citizens",
        ("how many people live in {}", "how many people are there in {}", "how many inhabitants does {} have"),
        ("most populous", "most populated"),
        ("least populous", "least populated"),
    ),
    Amount("density", ("how dense is {}", "how densely populated is {}"), ("densest", "most dense"), ("least dense",)),
    Amount(
        "area size hectares",
        ("how big is {}", "how large is {}", "what is the size of {}", "how much land does {} cover"),
        ("largest", "biggest"),
        ("smallest",),
    ),
    Amount(
        "length distance duration minutes hours days nights",
        ("how long is {}", "how long does {} take"),
        ("longest",),
        ("shortest",),
    ),
    Amount(
        "height altitude elevation",
        ("how high is {}", "how tall is {}", "how high up is {}"),
        ("highest", "tallest"),
        ("lowest",),
    ),
    Amount("depth", ("how deep is {}",), ("deepest",), ("shallowest",)),
    Amount("width", ("how wide is {}",), ("widest", "broadest"), ("narrowest",)),
    Amount(
        "weight mass tons kilograms tonnes", ("how heavy is {}", "how much does {} weigh"), ("heaviest",), ("lightest",)
    ),
    Amount("age", ("how old is {}",), ("oldest",), ("youngest",)),
    Amount(
        "price cost fare fee premium",
        ("how much does {} cost", "how expensive is {}", "what does {} cost"),
        ("most expensive", "priciest", "dearest"),
        ("cheapest", "least expensive"),
    ),
    Amount("salary wage income", ("how much does {} earn", "what does {} earn"), ("best paid",), ("worst paid",)),
    Amount("budget revenue", ("how much money does {} have",), ("richest",), ("poorest",)),
    Amount("rating score stars grade gpa", ("how good is {}", "how well did {} do"), ("best",), ("worst",)),
    Amount("speed", ("how fast is {}",), ("fastest",), ("slowest",)),
    Amount("power", ("how strong is {}", "how powerful is {}"), ("strongest",), ("weakest",)),
    Amount(
        "capacity seats places", ("how many fit into {}", "how much room does {} have"), ("largest",), ("smallest",)
    ),
    Amount("temperature", ("how hot is {}", "how warm is {}"), ("hottest", "warmest"), ("coldest",)),
)


PLACES = frozenset(
    "city country region county town state district nation continent canton place venue location origin "
    "province village office floor street".split()
)
"""Columns and tables that say where something is."""


_YEARS = ("oldest", "earliest", "first"), ("newest", "latest", "most recent")


def measure(feature: Feature) -> Amount | None:
    """The kind of amount that a column holds, by the last word of its name that tells."""
    found = (m for word in reversed(parts(feature.name)) for m in _AMOUNTS if word in m.names.split())
    return next(found, None) if feature.kind == "n" else None


def extremes(feature: Feature) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What things with its highest and its lowest value are called; of years, the earliest are the oldest."""
    if feature.kind in ("y", "d"):
        return _YEARS[1], _YEARS[0]
    kind = measure(feature)
    own = (feature.values[:1], feature.values[1:2]) if feature.kind == "n" else ((), ())
    return (own[0] + (kind.high if kind else ()), own[1] + (kind.low if kind else ()))


def extreme(thing: Thing, feature: Feature, dice: random.Random, *, low: bool) -> str:
    """`longest stream`, `stream with the greatest length`."""
    noun, called = thing.noun.replace("_", " "), extremes(feature)[low]
    if called and (feature.kind != "n" or dice.random() < 0.6):
        return f"{dice.choice(called)} {noun}"
    most = ("lowest", "smallest", "least", "minimum") if low else ("highest", "largest", "most", "greatest", "maximum")
    return f"{noun} with the {dice.choice(most)} {feature.name.replace('_', ' ')}"
