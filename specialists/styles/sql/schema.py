"""What a database holds, read once: columns with some of their values, and how its tables join."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Protocol

import networkx as nx

from ....core.errors import MetierError

# What a specialist sees of a database; whoever makes a team gives one that can only be read.


class Table(Protocol):
    """Rows that came back."""

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def rows(self) -> Sequence[Sequence[Any]]: ...

    @property
    def complete(self) -> bool:
        """False: there are more rows than were asked for."""
        ...


class Database(Protocol):
    """Answers one SELECT at a time. Whatever else it is asked, it refuses with a `MetierError`."""

    @property
    def dialect(self) -> str:
        """The name that sqlglot knows it by: `sqlite` or `postgres`."""
        ...

    def schema(self) -> Mapping[str, Mapping[str, str]]:
        """Table → column → declared type."""
        ...

    def query(self, sql: str, parameters: Sequence[Any] = (), rows: int = 1000) -> Table:
        """At most `rows` rows.

        Raises:
            MetierError: it refuses the query, rejects it, or takes too long.
        """
        ...


MOST_VALUES = 5000
"""Values of one text column that are remembered, to find them again in questions."""


LONGEST_VALUE = 60
"""Longer texts are prose: nobody names them whole in a question."""


OVERLAP = 0.5
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

    @property
    def path(self) -> str:
        """`table.column`, quoted where SQL needs it."""
        return f"{quoted(self.table)}.{quoted(self.name)}"


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

    @classmethod
    def of(cls, database: Database) -> Catalogue:
        """Read a database: one query for each table, one for each text column.

        Raises:
            MetierError: it cannot be read.
        """
        found = {table: _columns(database, table, columns) for table, columns in database.schema().items()}
        return cls({table: columns for table, columns in found.items() if columns}, database.dialect)

    @property
    def columns(self) -> Iterator[Column]:
        return (column for columns in self.tables.values() for column in columns.values())

    @cached_property
    def values(self) -> Mapping[str, Sequence[tuple[Column, str]]]:
        """A value in lower case → the columns that hold it, and how it stands there."""
        found: dict[str, list[tuple[Column, str]]] = defaultdict(list)
        for column in self.columns:
            for value in column.values:
                found[value.lower()].append((column, value))
        return found

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
                if _named_alike(left, right) and _overlap(left, right) >= OVERLAP:
                    known = left.unique or right.unique
                    if known or any(c.unique and c.name.lower() == left.name.lower() for c in self.columns):
                        doubt = (1.0 if known else 1.5) + 1.0 * (_measures(left) and _measures(right))
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


def _columns(database: Database, table: str, columns: Mapping[str, str]) -> dict[str, Column]:
    counts = ", ".join(f"COUNT(DISTINCT {quoted(column)})" for column in columns)
    try:
        total, *distinct = database.query(f"SELECT COUNT(*), {counts} FROM {quoted(table)}").rows[0]
    except MetierError:
        # A table that is too large to count is still one that can be asked.
        total, distinct = -2, [-1] * len(columns)
    made: dict[str, Column] = {}
    for (column, kind), different in zip(columns.items(), distinct, strict=True):
        number = bool(_NUMBER.search(kind))
        values = () if number else _values(database, table, column)
        made[column] = Column(table, column, number, different, different == total > 1, values)
    return made


def _values(database: Database, table: str, column: str) -> tuple[str, ...]:
    query = f"SELECT DISTINCT {quoted(column)} FROM {quoted(table)} WHERE {quoted(column)} IS NOT NULL"
    try:
        found = database.query(query, rows=MOST_VALUES).rows
    except MetierError:
        return ()
    return tuple(sorted(v for (v,) in found if isinstance(v, str) and 0 < len(v) <= LONGEST_VALUE))


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


def same_rows(found: Table, truth: Table, *, ordered: bool) -> bool:
    """Whether two results hold the same rows: execution match. Columns by position, numbers to nine digits.

    Args:
        ordered: The order of rows counts.
    """
    a, b = ([tuple(map(_plain, row)) for row in table.rows] for table in (found, truth))
    return a == b if ordered else Counter(a) == Counter(b)


def _plain(value: Any) -> Any:
    """A number as a rounded one: sums of floats differ with the order of rows."""
    return float(f"{value:.9g}") if isinstance(value, (int, float)) else value
