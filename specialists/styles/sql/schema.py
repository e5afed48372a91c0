"""What a database holds, read once: columns with some of their values, and how its tables join."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import networkx as nx

from ....core.errors import MetierError
from ....core.text import stem
from ....tools.database import Database

_MOST_VALUES = 5000
"""Values of one text column that are remembered, to find them again in questions."""

_LONGEST_VALUE = 60
"""Longer texts are prose: nobody names them whole in a question."""

_LONGEST_NAMED = 6
"""Words of the longest run that is looked up as a value."""

_OVERLAP = 0.5
"""Columns join only if so much of the smaller one's values stand in the other."""

_NUMBER = re.compile(r"int|real|num|dec|double|float|money|serial", re.IGNORECASE)

_KEY = re.compile(r"(id|no|nr|num|number|code|key)$", re.IGNORECASE)

_RESERVED = frozenset(
    "all and as between by case check column default delete desc distinct drop else end exists from group having in "
    "index insert into is join like limit match not null on or order primary references select set table then to "
    "transaction union unique update user using values when where with".split()
)

_GENERIC = frozenset(("id", "name", "title", "description", "status", "type", "date", "year", "rating"))


@dataclass(frozen=True)
class Column:
    """One column."""

    table: str
    name: str
    number: bool
    distinct: int
    """Different values; -1 where the database does not tell."""
    unique: bool
    """No value stands there twice: it names its row."""
    values: tuple[str, ...]
    """Of a text column, short ones only."""
    quoted: str = field(init=False, compare=False)
    """Its name as SQL takes it."""
    path: str = field(init=False, compare=False)
    """`table.column`, as SQL takes it."""
    words: tuple[str, ...] = field(init=False, compare=False)
    """Of its name."""
    stems: tuple[str, ...] = field(init=False, compare=False)
    """Of its name's words."""
    noun: tuple[str, ...] = field(init=False, compare=False)
    """Stems of what its values are: `ship` for `ship.ship_name`, `depot` for `depot.name`."""

    def __post_init__(self) -> None:
        # Asked for at every question, thousands of times in training: computed once.
        noun = re.sub(r"(?i)_?(name|title)$", "", self.name) or self.table
        derived = {
            "quoted": quoted(self.name),
            "path": f"{quoted(self.table)}.{quoted(self.name)}",
            "words": tuple(parts(self.name)),
            "stems": _stems(self.name),
            "noun": _stems(noun),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)


Join = tuple[Column, Column]


class Catalogue:
    """A database's columns and joins.

    Args:
        tables: Table → column → what is known of it.
        dialect: Of the database's SQL.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, Column]], dialect: str = "sqlite") -> None:
        self.tables = tables
        self.dialect = dialect
        self.columns = tuple(column for columns in tables.values() for column in columns.values())

    @classmethod
    def of(cls, database: Database) -> Catalogue:
        """Read a database: one query for each table, one for each text column.

        Raises:
            MetierError: it cannot be read.
        """
        tables = {table: _columns(database, table, columns) for table, columns in database.schema().items()}
        return cls({table: columns for table, columns in tables.items() if columns}, database.dialect)

    @cached_property
    def paths(self) -> Mapping[str, str]:
        """Table → its name as SQL takes it."""
        return {table: quoted(table) for table in self.tables}

    @cached_property
    def stems(self) -> Mapping[str, tuple[str, ...]]:
        """Table → stems of its name's words."""
        return {table: _stems(table) for table in self.tables}

    @cached_property
    def values(self) -> Mapping[str, Sequence[tuple[Column, str]]]:
        """A value in lower case → the columns that hold it, and how it stands there."""
        holders: dict[str, list[tuple[Column, str]]] = defaultdict(list)
        for column in self.columns:
            for value in column.values:
                holders[value.lower()].append((column, value))
        return holders

    def mentioned(self, question: str) -> list[tuple[str, Column]]:
        """Runs of the question's words that stand in the database, longest first, none inside another."""
        text = question.lower()
        words = [*re.finditer(r"[\w][\w.&'/-]*", text)]
        taken = [False] * len(words)
        mentions: list[tuple[str, Column]] = []
        for length in range(min(_LONGEST_NAMED, len(words)), 0, -1):
            for start in range(len(words) - length + 1):
                if any(taken[start : start + length]):
                    continue
                run = text[words[start].start() : words[start + length - 1].end()].strip(".'")
                holders = self.values.get(run) or self.values.get(run.removesuffix("s"), ())
                if holders and len(run) > 1:
                    taken[start : start + length] = [True] * length
                    mentions += [(value, column) for column, value in holders]
        return mentions

    @cached_property
    def joins(self) -> nx.Graph:
        """Tables, with an edge where two join; its `join` is the pair of columns, its `weight` how doubtful it is."""
        graph = nx.Graph()
        graph.add_nodes_from(self.tables)
        for one, other in combinations(self.tables, 2):
            pairs = sorted(self._pairs(one, other), key=lambda pair: pair[0])
            if pairs:
                doubt, join = pairs[0]
                graph.add_edge(one, other, join=join, weight=doubt)
        return graph

    def _pairs(self, one: str, other: str) -> Iterator[tuple[float, Join]]:
        for left in self.tables[one].values():
            for right in self.tables[other].values():
                if _named_alike(left, right) and _overlap(left, right) >= _OVERLAP:
                    keyed = left.unique or right.unique
                    if keyed or any(c.unique and c.name.lower() == left.name.lower() for c in self.columns):
                        doubt = (1.0 if keyed else 1.5) + 1.0 * (_measures(left) and _measures(right))
                        yield doubt + 1 / (2 + min(left.distinct, right.distinct)), (left, right)


def quoted(identifier: str) -> str:
    """A table's or column's name as SQL takes it."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", identifier) and identifier.lower() not in _RESERVED
    return identifier if plain else '"' + identifier.replace('"', '""') + '"'


def parts(name: str) -> list[str]:
    """The words of a table's or column's name.

    >>> parts("lead_time"), parts("LeadTime")
    (['lead', 'time'], ['lead', 'time'])
    """
    return re.findall(r"[a-z]+|[0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())


def _stems(name: str) -> tuple[str, ...]:
    return tuple(stem(word) for word in parts(name))


def _columns(database: Database, table: str, columns: Mapping[str, str]) -> dict[str, Column]:
    counts = ", ".join(f"COUNT(DISTINCT {quoted(column)})" for column in columns)
    try:
        total, *distinct = database.query(f"SELECT COUNT(*), {counts} FROM {quoted(table)}").rows[0]
    except MetierError:
        # A table that is too large to count is still one that can be asked.
        total, distinct = -2, [-1] * len(columns)
    read: dict[str, Column] = {}
    for (column, kind), different in zip(columns.items(), distinct, strict=True):
        number = bool(_NUMBER.search(kind))
        values = () if number else _values(database, table, column)
        read[column] = Column(table, column, number, different, different == total > 1, values)
    return read


def _values(database: Database, table: str, column: str) -> tuple[str, ...]:
    query = f"SELECT DISTINCT {quoted(column)} FROM {quoted(table)} WHERE {quoted(column)} IS NOT NULL"
    try:
        rows = database.query(query, rows=_MOST_VALUES).rows
    except MetierError:
        return ()
    return tuple(sorted(v for (v,) in rows if isinstance(v, str) and 0 < len(v) <= _LONGEST_VALUE))


def _named_alike(left: Column, right: Column) -> bool:
    a, b = left.name.lower(), right.name.lower()
    if a == b:
        return a not in _GENERIC
    return _points_to(left, right) or _points_to(right, left)


def _measures(column: Column) -> bool:
    """Whether it holds amounts, such as areas or prices: two tables may both have one, and do not join by it."""
    return column.number and not _KEY.search(column.name)


def _points_to(left: Column, right: Column) -> bool:
    """`paper.journal_id` to `journal.id`, `parts.supplier` to `suppliers.name`."""
    a, b, table = left.name.lower(), right.name.lower(), right.table.lower()
    singular = table.removesuffix("s")
    return right.unique and a in {f"{t}{gap}{b}" for t in (table, singular) for gap in ("", "_")} | (
        {table, singular} if b in ("id", "name", "code", singular) else set()
    )


def _overlap(left: Column, right: Column) -> float:
    """Share of the smaller column's values in the other; 1 for numbers, whose values are not remembered."""
    if left.number or right.number:
        return float(left.number and right.number)
    small, large = sorted((set(left.values), set(right.values)), key=len)
    return len(small & large) / len(small) if small else 0.0
