"""Small made-up databases to ask questions about, so that the skill `sql` meets many schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML

FILE = Path(__file__).with_name("sql_worlds.yaml")
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
    return [{t.noun: t for t in map(_thing, block.splitlines())} for block in YAML(typ="safe").load(FILE)]


def _thing(line: str) -> Thing:
    head, *columns = (part.strip() for part in line.split("|"))
    noun, plural = head.split()
    return Thing(noun, plural, tuple(map(_feature, columns)))


def _feature(text: str) -> Feature:
    head, _, values = text.partition("=")
    name, _, kind = head.removesuffix(">").partition(":")
    kind = ">" if head.endswith(">") else kind or "name"
    return Feature(name, kind, tuple(v for v in values.split("/") if v))
