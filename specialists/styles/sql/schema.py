"""What a database holds, read once: columns with some of their values, and how its tables join."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import networkx as nx

from ....core.errors import MetierError
from ....core.text import stem
from ....tools.database import NUMBER_TYPE, Database, quote_name
from ....tools.sql_meaning import ColumnFacts
from ....tools.text_columns import TextColumn, text_column

_MOST_VALUES = 5000
"""Values of one text column that are remembered, to find them again in questions."""

_LONGEST_VALUE = 60
"""Longer texts are prose: nobody names them whole in a question."""

_LONGEST_NAMED = 6
"""Words of the longest run that is looked up as a value."""

_OVERLAP = 0.5
"""Columns join only if so much of the smaller one's values stand in the other."""

_NUMBER = re.compile(NUMBER_TYPE, re.IGNORECASE)

_KEY = re.compile(r"(id|no|nr|num|number|code|key)$", re.IGNORECASE)

_RESERVED = frozenset(
    "add all alter and any as asc autoincrement between by case cast check collate column commit constraint create "
    "cross cube current_date current_time current_timestamp current_user default deferrable delete desc describe "
    "distinct drop else end escape except exists false fetch for foreign from glob grant group having ilike in "
    "index inner insert intersect into is isnull join lateral like limit lock match not nothing notnull null offset "
    "on or order outer partitioned_by primary qualify raise references regexp returning revoke rlike rollback "
    "rollup select set table tablesample then to transaction true uncache union unique update user using values "
    "when where window with xor".split()
)
"""Names that SQLite or the parser here take for something else when they stand without quotes."""

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
    empties: bool = False
    """Some of its rows have no value (NULL)."""
    dialect: str = "sqlite"
    """Of the database's SQL."""
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
            "quoted": quoted(self.name, self.dialect),
            "path": f"{quoted(self.table, self.dialect)}.{quoted(self.name, self.dialect)}",
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
        return {table: quoted(table, self.dialect) for table in self.tables}

    @cached_property
    def stems(self) -> Mapping[str, tuple[str, ...]]:
        """Table → stems of its name's words."""
        return {table: _stems(table) for table in self.tables}

    @property
    def names(self) -> Mapping[str, Mapping[str, Column]]:
        """Tables and their columns."""
        return self.tables

    def facts(self, table: str, column: str) -> ColumnFacts:
        """What has to be known of a column for a query to mean what is meant."""
        return ColumnFacts(self._texts.get((table, column)), self.tables[table][column].empties)

    @cached_property
    def _texts(self) -> Mapping[tuple[str, str], TextColumn]:
        return {(c.table, c.name): text_column(c.values) for c in self.columns if c.values}

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


def quoted(identifier: str, dialect: str = "sqlite") -> str:
    """A table's or column's name as SQL takes it. PostgreSQL reads names without quotes in small letters."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", identifier) and identifier.lower() not in _RESERVED
    changed = dialect == "postgres" and identifier != identifier.lower()
    return identifier if plain and not changed else quote_name(identifier)


def parts(name: str) -> list[str]:
    """The words of a table's or column's name.

    >>> parts("lead_time"), parts("LeadTime")
    (['lead', 'time'], ['lead', 'time'])
    """
    return re.findall(r"[a-z]+|[0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())


def _stems(name: str) -> tuple[str, ...]:
    return tuple(stem(word) for word in parts(name))


def _columns(database: Database, table: str, columns: Mapping[str, str]) -> dict[str, Column]:
    counts = ", ".join(f"COUNT(DISTINCT {name}), COUNT({name})" for name in map(quote_name, columns))
    try:
        total, *counted = database.query(f"SELECT COUNT(*), {counts} FROM {quote_name(table)}").rows[0]
    except MetierError:
        # A table that is too large to count is still one that can be asked.
        total, counted = -2, [-1, -2] * len(columns)
    read: dict[str, Column] = {}
    for (column, kind), different, filled in zip(columns.items(), counted[::2], counted[1::2], strict=True):
        number, values = bool(_NUMBER.search(kind)), ()
        if not number:
            values = _values(database, table, column)
            # Columns that are computed often have no type.
            number = not kind and different > 0 and all(isinstance(value, int | float) for value in values)
        texts = sorted(value for value in values if isinstance(value, str) and 0 < len(value) <= _LONGEST_VALUE)
        unique = different == total > 1
        read[column] = Column(
            table, column, number, different, unique, tuple(texts), filled != total, dialect=database.dialect
        )
    return read


def _values(database: Database, table: str, column: str) -> tuple[Any, ...]:
    name = quote_name(column)
    query = f"SELECT DISTINCT {name} FROM {quote_name(table)} WHERE {name} IS NOT NULL"
    try:
        return tuple(value for (value,) in database.query(query, rows=_MOST_VALUES).rows)
    except MetierError:
        return ()


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
