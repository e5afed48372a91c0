"""What speaks against a query, seen from outside: signs that it does not do what the question says."""

from __future__ import annotations

import re
from collections.abc import Callable

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ..support import stem
from .catalogue import Catalogue, Column, parts
from .short import conditions

Sign = Callable[[str, exp.Expr, Catalogue], bool]
"""Question in lower case, query and database → whether something is wrong."""


def doubts(short: str, task: str, catalogue: Catalogue) -> int:
    """How many signs there are that a short query is not what the task asks for; one that cannot be read has all."""
    try:
        query = sqlglot.parse_one(short, read=catalogue.dialect)
    except (SqlglotError, RecursionError):
        return len(SIGNS)
    return sum(sign(task.lower(), query, catalogue) for sign in SIGNS)


def repeats_the_question(task: str, query: exp.Expr, catalogue: Catalogue) -> bool:
    """All it shows are columns whose values the question has named: `SELECT city.name WHERE city.name = 'Bergen'`."""
    if not isinstance(query, exp.Select) or query.args.get("group"):
        return False
    bound = {c.this.sql() for c in conditions(query) if isinstance(c, exp.EQ) and isinstance(c.expression, exp.Literal)}
    return all(isinstance(shown, exp.Column) and shown.sql() in bound for shown in query.expressions)


def does_not_count(task: str, query: exp.Expr, catalogue: Catalogue) -> bool:
    """ "How many" of what is a table, and no count, nor a column that is called so."""
    found = re.search(r"\bhow many (?:\w+ )?(\w{3,})", task)
    words = {stem(word) for word in found[0].split()[2:]} if found else set()
    if not words & {stem(part) for table in catalogue.tables for part in parts(table)}:
        return False
    named = {stem(part) for column in query.find_all(exp.Column) for part in parts(column.name)}
    return query.find(exp.Count, exp.Sum) is None and not words & named


def lacks_an_extreme(task: str, query: exp.Expr, catalogue: Catalogue) -> bool:
    """A superlative, and neither an extreme nor an order, nor a column that is called so (`highest_point`)."""
    found = set(re.findall(r"(?<!\bat )\b(\w{3,}est|most|least|maximum|minimum)\b", task)) - NOT_EXTREME
    if not found or query.find(exp.Max, exp.Min, exp.Order):
        return False
    return not found & {part for column in query.find_all(exp.Column) for part in parts(column.name)}


def lacks_an_aggregate(task: str, query: exp.Expr, catalogue: Catalogue) -> bool:
    """An average or a total that is not taken, nor a column that is called so."""
    called = {part for column in query.find_all(exp.Column) for part in parts(column.name)}
    for words, kinds in AGGREGATES:
        if words & {*parts(task)} and not words & called and query.find(*kinds) is None:
            return True
    return False


def lacks_a_negation(task: str, query: exp.Expr, catalogue: Catalogue) -> bool:
    """ "Not", "without" or "no", and nothing is excluded or counted as zero."""
    if not re.search(r"\b(not|without|excluding|except|never|no (?!more|less|fewer|longer))\b", task):
        return False
    return query.find(exp.Not, exp.NEQ, exp.Is, exp.LT, exp.LTE, exp.Case) is None and " = 0" not in query.sql()


def misses_a_column(task: str, query: exp.Expr, catalogue: Catalogue) -> bool:
    """A column of two words or more is called by its whole name, and none that begins like it is used."""
    used = {(parts(column.name) or [""])[0] for column in query.find_all(exp.Column)}
    for column in catalogue.columns:
        words = parts(column.name)
        named = len(words) > 1 and words[-1] not in ("name", "id") and words[0] not in used
        if named and re.search(rf"\b{' '.join(words)}\b", task):
            return True
    return False


def compares_an_extreme_text(task: str, query: exp.Expr, catalogue: Catalogue) -> bool:
    """The largest or smallest of a text that is no amount and no date."""
    for peak in query.find_all(exp.Max, exp.Min):
        column = peak.this
        known = catalogue.tables.get(column.table, {}).get(column.name) if isinstance(column, exp.Column) else None
        if known and not known.number and known.values and not any(value[:1].isdigit() for value in known.values):
            return True
    return False


def says_no_place(task: str, query: exp.Expr, catalogue: Catalogue) -> bool:
    """ "Where", and all that it shows are amounts."""
    if not re.match(r"(in |on )?(where|who)\b", task) or not isinstance(query, exp.Select):
        return False
    shown = [catalogue.tables.get(c.table, {}).get(c.name) for c in query.expressions if isinstance(c, exp.Column)]
    return bool(shown) and all(column is not None and _amounts(column) for column in shown)


def _amounts(column: Column) -> bool:
    return column.number or (bool(column.values) and all(value.lstrip("-")[:1].isdigit() for value in column.values))


SIGNS: tuple[Sign, ...] = (
    repeats_the_question,
    does_not_count,
    lacks_an_extreme,
    lacks_an_aggregate,
    lacks_a_negation,
    misses_a_column,
    compares_an_extreme_text,
    says_no_place,
)

NOT_EXTREME = frozenset(
    ("interest", "request", "test", "latest", "guest", "forest", "west", "invest", "harvest", "quest")
)
AGGREGATES = (
    ({"average", "mean", "avg"}, (exp.Avg, exp.Div)),
    ({"total", "combined", "sum"}, (exp.Sum, exp.Count)),
)
