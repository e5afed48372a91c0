"""Questions about the database at hand, made from the patterns of the skill: its own tables, columns and values.

No answered example is needed; where there are some, these questions are about what none of them asks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from .....core.errors import MetierError
from .....tools.database import Database
from ..prompt import Solved
from ..schema import Catalogue, Column, parts
from ..short import expand
from .patterns import asked
from .setting import Condition, Setting, words
from .vocabulary import Feature, Thing

_FEW = 12
"""A text column with at most so many values holds categories."""

_NAMED = ("name", "title")
_DATED = ("year", "founded", "built", "born")


class Own(Setting):
    """A database that exists, seen as a made-up one."""

    def __init__(self, catalogue: Catalogue, database: Database, dice: random.Random) -> None:
        self.dice, self.catalogue, self._database = dice, catalogue, database
        self._nouns = {table: "_".join(_singular(parts(table))) for table in catalogue.tables}
        self._columns_of: dict[tuple[str, str], Column] = {}
        self._links = {table: self._parents_of(table) for table in catalogue.tables}
        self.world = {self._nouns[table]: self._thing(table) for table in catalogue.tables}
        self.tables = [thing for thing in self.world.values() if thing.features]
        self._tables = {noun: table for table, noun in self._nouns.items()}

    def table(self, thing: Thing) -> str:
        return self._tables[thing.noun]

    def column(self, thing: Thing, feature: Feature) -> str:
        return self._columns_of[thing.noun, feature.name].path

    def key(self, thing: Thing) -> str:
        columns = self.catalogue.tables[self.table(thing)].values()
        named = [self._columns_of[thing.noun, f.name] for f in thing.of("name")[:1]]
        return next((c for c in columns if c.unique), (*named, *columns)[0]).path

    def is_named(self, child: Thing, parent: Thing) -> tuple[str, str]:
        feature = parent.of("name")[0]
        value = self.dice.choice(feature.values)
        own = self._columns_of[child.noun, parent.noun]
        path = own.path if value in own.values else self.column(parent, feature)
        return value, f"{path} = '{value.replace(chr(39), chr(39) * 2)}'"

    def _number(self, feature: Feature, column: str) -> Condition:
        table = column.rpartition(".")[0]
        rows = self._database.query(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL", rows=50).rows
        amounts = [float(row[0]) for row in rows if isinstance(row[0], int | float)]
        value = f"{self.dice.choice(amounts or [1.0]):.2g}"
        value = f"{float(value):.10g}"
        more = self.dice.random() < 0.5
        way = self.dice.choice(
            ("with more than {0} {1}", "whose {1} is above {0}")
            if more
            else ("with less than {0} {1}", "whose {1} is below {0}")
        )
        return Condition(way.format(value, words(feature.name)), f"{column} {'>' if more else '<'} {value}")

    def _parents_of(self, table: str) -> dict[str, str]:
        """Column → the table whose rows it names."""
        found: dict[str, str] = {}
        for other in self.catalogue.joins[table]:
            for left, right in (pair := self.catalogue.joins.edges[table, other]["join"], pair[::-1]):
                own = left if left.table == table else right
                far = right if own is left else left
                home = {*parts(other)} & {*parts(far.name)} or far.name.lower() in ("id", *_NAMED)
                if far.unique and home and not ({*parts(table)} & {*parts(own.name)} and own.unique):
                    found.setdefault(own.name, other)
        return found

    def _thing(self, table: str) -> Thing:
        noun, features = self._nouns[table], list[Feature]()
        for column in self.catalogue.tables[table].values():
            feature = self._feature(column)
            if feature and (noun, feature.name) not in self._columns_of:
                self._columns_of[noun, feature.name] = column
                features.append(feature)
        return Thing(noun, _plural(noun), tuple(sorted(features, key=lambda f: f.name not in _NAMED)))

    def _feature(self, column: Column) -> Feature | None:
        parent = self._links[column.table].get(column.name)
        if parent:
            return Feature(self._nouns[parent], ">")
        mine = [w for w in column.words if w not in _singular(parts(column.table))] or [*column.words]
        if column.distinct in (0, 1) or mine[-1] == "id":
            return None
        values = tuple(v for v in column.values if "'" not in v)
        kind = _kind(column, mine, values)
        return Feature("_".join(mine), kind, values if kind in ("name", "c") else ()) if kind else None


def own_questions(catalogue: Catalogue, database: Database, dice: random.Random) -> Iterator[Solved]:
    """Questions with short SQL that gives rows, without end where the database has something to ask about."""
    setting, misses = Own(catalogue, database, dice), 0
    while setting.tables and misses < 1000:
        made = asked(setting, dice)
        if made and answered(made[1], catalogue, database):
            yield Solved(*made)
            misses = 0
        misses += 1


def answered(short: str, catalogue: Catalogue, database: Database) -> bool:
    """Whether a query gives rows that are not empty or zero."""
    try:
        rows = database.query(expand(short, catalogue), rows=20).rows
    except MetierError:
        return False
    return any(value not in (None, 0) for row in rows for value in row)


def _kind(column: Column, words: Sequence[str], values: Sequence[str]) -> str:
    """What a column holds, as `Feature.kind` says it; nothing where there is nothing to ask for."""
    if column.number or (values and all(v.lstrip("-").replace(".", "").isdigit() for v in values)):
        return "y" if {*words} & {*_DATED} else "n"
    if not values:
        return ""
    if all(v[:4].isdigit() and v[4:5] == "-" for v in values):
        return "d"
    return "name" if column.unique or words[-1] in _NAMED or len(values) > _FEW else "c"


def _singular(words: list[str]) -> list[str]:
    last = words[-1]
    if last.endswith("ies"):
        last = last[:-3] + "y"
    elif last.endswith("s") and not last.endswith(("ss", "us")):
        last = last[:-1]
    return [*words[:-1], last]


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch")) else "s")
