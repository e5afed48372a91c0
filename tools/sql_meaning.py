"""Where SQL does what nobody means, and says nothing: what a query is to mean instead.

shipped / total            whole numbers divided: 2 / 3 is 0        1.0 * shipped / total
status <> 'open'           leaves out rows without a status         (status <> 'open' OR status IS NULL)
id NOT IN (SELECT …)       true of nothing, where one is NULL       … WHERE … IS NOT NULL
ORDER BY day               of '09.11.2025' the day counts first     year, month and day put in order
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import sqlglot
from sqlglot import exp

from ..core.errors import MetierError
from .database import NUMBER_TYPE, Database, quote_name
from .text_columns import TextColumn, text_column

_NUMBER = re.compile(NUMBER_TYPE, re.IGNORECASE)
_COMPARING = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)
_SORTING = (exp.Ordered, exp.Max, exp.Min, exp.Sum, exp.Avg, exp.Div, exp.Mul, exp.Sub, exp.Add)
_DATE_FUNCTIONS = (exp.TimeToStr, exp.Date, exp.TsOrDsToDate, exp.TsOrDsToTimestamp, exp.Extract, exp.Year, exp.Month)
_DATE_NAMES = frozenset("date datetime julianday strftime unixepoch time".split())


@dataclass(frozen=True)
class ColumnFacts:
    """What has to be known of a column."""

    text: TextColumn | None
    """What its texts are; None for one of numbers."""
    empties: bool
    """Some of its rows have no value (NULL)."""


class KnownColumns(Protocol):
    """What is known of a database's columns."""

    @property
    def names(self) -> Mapping[str, Mapping[str, object]]:
        """Tables and their columns."""
        ...

    def facts(self, table: str, column: str) -> ColumnFacts:
        """Of a column that is there."""
        ...


class LookedAtColumns:
    """Looks at the values of a database's columns when they are asked for first."""

    def __init__(self, database: Database) -> None:
        self._database, self._known = database, dict[tuple[str, str], ColumnFacts]()

    @property
    def names(self) -> Mapping[str, Mapping[str, object]]:
        return self._database.schema()

    def facts(self, table: str, column: str) -> ColumnFacts:
        if (table, column) not in self._known:
            self._known[table, column] = self._look(table, column)
        return self._known[table, column]

    def _look(self, table: str, column: str) -> ColumnFacts:
        name, place = quote_name(column), quote_name(table)
        kind = self._database.schema()[table][column]
        try:
            (empties,) = self._database.query(f"SELECT COUNT(*) - COUNT({name}) FROM {place}").rows[0]
            sql = f"SELECT DISTINCT {name} FROM {place} WHERE {name} IS NOT NULL"
            values = [] if _NUMBER.search(kind) else [value for (value,) in self._database.query(sql).rows]
        except MetierError:
            return ColumnFacts(None, False)  # too large to be looked at
        texts = [str(value) for value in values] if any(isinstance(value, str) for value in values) else []
        return ColumnFacts(text_column(texts) if texts else None, bool(empties))


def as_meant(sql: str, dialect: str, known: KnownColumns) -> tuple[str, list[str]]:
    """The query as it is meant, and what remains in doubt: one sentence for each column.

    Args:
        sql: One SELECT that can be parsed.
    """
    query = sqlglot.parse_one(sql, read=dialect)
    before, remarks = query.sql(dialect), dict[str, None]()
    for column in [*query.find_all(exp.Column)]:
        if found := _place(column, known):
            _read_text(column, *found, known, remarks)
    for condition in [*query.find_all(exp.NEQ, exp.Not)]:
        _with_empty(condition, known)
    divide_exactly(query)
    after = query.sql(dialect)
    return (sql if after == before else after), list(remarks)


def divide_exactly(query: exp.Expr) -> None:
    """Whole numbers are divided as people do; not where rows are put into groups of ten."""
    grouped = {part.sql() for group in query.find_all(exp.Group) for part in group.expressions}
    for division in [*query.find_all(exp.Div)][::-1]:
        bucket = division.find_ancestor(exp.Group) or division.sql() in grouped
        exact = any(literal.is_number and not literal.is_int for literal in division.find_all(exp.Literal))
        if not bucket and not exact and not division.find(exp.Cast, exp.Avg):
            division.set("this", exp.Mul(this=exp.Literal.number("1.0"), expression=division.this))


def _place(column: exp.Column, known: KnownColumns) -> tuple[str, str] | None:
    """Table and column as the schema spells them; None where it is not clear."""
    select = column.find_ancestor(exp.Select)
    tables = [*_tables(select)] if select else []
    named = [table.name for table in tables if not column.table or column.table in (table.alias, table.name)]
    found = [
        (table, name)
        for table in known.names
        for name in known.names[table]
        if table.lower() in {one.lower() for one in named} and name.lower() == column.name.lower()
    ]
    return found[0] if len(found) == 1 else None


def _tables(select: exp.Expr) -> Iterator[exp.Table]:
    """Those that FROM and JOIN name, of this SELECT and those around it."""
    while select:
        from_, joins = select.args.get("from_"), select.args.get("joins") or []
        yield from (part.this for part in [from_, *joins] if part and isinstance(part.this, exp.Table))
        select = select.find_ancestor(exp.Select)  # pyright: ignore[reportAssignmentType]


def _read_text(column: exp.Column, table: str, name: str, known: KnownColumns, remarks: dict[str, None]) -> None:
    """Numbers and dates that are text are read where it matters that they are."""
    use = _use(column)
    text = known.facts(table, name).text if use else None
    if text is None or use is None or (_is_equal(use) and not _concerns(use, text)):
        return
    if text.doubt:
        remarks[f"{table}.{name} is compared as text: {text.doubt}"] = None
        return
    if isinstance(use, (*_COMPARING, exp.EQ, exp.NEQ)) and (text.dates or text.numbers):
        for literal in [part for part in use.iter_expressions() if isinstance(part, exp.Literal)]:
            value = text.value(literal.this)
            literal.replace(exp.Literal.string(value) if isinstance(value, str) else exp.Literal.number(value))
    if not text.plain:
        column.replace(sqlglot.parse_one(text.sql(column.sql("sqlite")), read="sqlite"))


def _is_equal(use: exp.Expr) -> bool:
    return isinstance(use, exp.EQ | exp.NEQ)


def _concerns(use: exp.Expr, text: TextColumn) -> bool:
    """Whether what a column is equal to is an extreme, a date or a number: as text it may be written in another way."""
    for other in (use.this, use.expression):
        if isinstance(other, exp.Literal):
            return bool(text.dates and text.dates.read(other.this)) or bool(text.numbers and not other.is_string)
        if isinstance(other, exp.Subquery):
            return other.find(exp.Max, exp.Min) is not None
    return False


def _use(column: exp.Column) -> exp.Expr | None:
    """What is done with a column, where it matters that its texts are numbers or dates."""
    parent = column.parent
    while isinstance(parent, exp.Paren | exp.Distinct | exp.Neg | exp.Round | exp.Abs):
        parent = parent.parent
    if isinstance(parent, (*_COMPARING, *_SORTING, *_DATE_FUNCTIONS, exp.EQ, exp.NEQ)):
        return parent
    return parent if isinstance(parent, exp.Anonymous) and parent.name.lower() in _DATE_NAMES else None


def _with_empty(condition: exp.Expr, known: KnownColumns) -> None:
    """What is said to be not something may be empty."""
    inner = condition.this if isinstance(condition, exp.Not) else condition
    if isinstance(inner, exp.Paren):
        inner = inner.this
    if not isinstance(inner, exp.NEQ | exp.EQ | exp.In | exp.Like) or not condition.find_ancestor(exp.Where):
        return
    if isinstance(inner, exp.In) and inner.args.get("query"):
        _without_null(inner.args["query"], known)
        return
    column = inner.this
    if (isinstance(condition, exp.Not) and isinstance(inner, exp.NEQ)) or not isinstance(column, exp.Column):
        return
    others = inner.expressions if isinstance(inner, exp.In) else [inner.expression]
    zero = any(isinstance(other, exp.Literal) and other.name == "0" for other in others)
    if zero or not all(isinstance(other, exp.Literal) for other in others) or _asked_for(column):
        return
    place = _place(column, known)
    if place and known.facts(*place).empties:
        empty = exp.Is(this=column.copy(), expression=exp.Null())
        condition.replace(exp.Paren(this=exp.Or(this=condition.copy(), expression=empty)))


def _asked_for(column: exp.Column) -> bool:
    """Whether the query says itself what becomes of rows without a value."""
    select = column.find_ancestor(exp.Select)
    said = select.args["where"].find_all(exp.Is) if select and select.args.get("where") else []
    return any(one.this.sql() == column.sql() for one in said)


def _without_null(query: exp.Expr, known: KnownColumns) -> None:
    """`NOT IN` a list with NULL in it is true of nothing."""
    select = query.find(exp.Select)
    shown = select.expressions if select else []
    if not select or len(shown) != 1 or not isinstance(shown[0], exp.Column) or _asked_for(shown[0]):
        return
    place = _place(shown[0], known)
    if place and known.facts(*place).empties:
        select.where(exp.Not(this=exp.Is(this=shown[0].copy(), expression=exp.Null())), copy=False)
