"""More questions out of answered ones: another value, the other extreme, another column, in question and SQL alike.

The idea of data recombination for semantic parsing (Jia and Liang, ACL 2016), with words in place of a grammar: where a
question names a value or a column as the database does, both can be exchanged without understanding the rest.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp

from ..prompt import Solved
from ..schema import Catalogue, Column, parts

OPPOSITES = {
    "highest": ("lowest",),
    "lowest": ("highest",),
    "largest": ("smallest",),
    "biggest": ("smallest",),
    "greatest": ("smallest", "lowest"),
    "smallest": ("largest", "biggest"),
    "longest": ("shortest",),
    "shortest": ("longest",),
    "tallest": ("lowest",),
    "deepest": ("shallowest",),
    "oldest": ("newest",),
    "newest": ("oldest",),
    "best": ("worst",),
    "worst": ("best",),
    "maximum": ("minimum",),
    "minimum": ("maximum",),
    "most": ("least",),
    "least": ("most",),
    "fewest": ("most",),
}

TRIES = 3
"""Exchanges of each kind for one question."""


def recombined(solved: Solved, catalogue: Catalogue, dice: random.Random) -> Iterator[Solved]:
    """Other questions with their short SQL. Not all of them have an answer: whoever uses them runs them first."""
    for change in (other_value, other_extreme, other_column):
        yield from dict.fromkeys(made for _ in range(TRIES) if (made := change(solved, catalogue, dice)))


def other_value(solved: Solved, catalogue: Catalogue, dice: random.Random) -> Solved | None:
    """Another value of the column that a text is compared with."""
    query = sqlglot.parse_one(solved.sql, read=catalogue.dialect)
    for condition in query.find_all(exp.EQ, exp.Like):
        text, column = condition.expression, condition.this
        if not (isinstance(column, exp.Column) and isinstance(text, exp.Literal) and text.is_string):
            continue
        value, known = text.this.strip("%"), catalogue.tables.get(column.table, {}).get(column.name)
        others = [v for v in known.values if v.lower() != value.lower()] if known else []
        if not others or not re.search(rf"\b{re.escape(value.lower())}\b", solved.task.lower()):
            continue
        other = dice.choice(others)
        for literal in query.find_all(exp.Literal):
            if literal.is_string and literal.this.strip("%") == value:
                literal.replace(exp.Literal.string(literal.this.replace(value, other)))
        said = other.lower() if solved.task.islower() else other
        return Solved(_exchange(solved.task, value, said), query.sql(catalogue.dialect))
    return None


def other_extreme(solved: Solved, catalogue: Catalogue, dice: random.Random) -> Solved | None:
    """The lowest in place of the highest, where the question has one superlative and the SQL one extreme."""
    found = re.findall(r"\b(?:\w{3,}est|most|least|best|worst|maximum|minimum)\b", solved.task.lower())
    if len(found) != 1 or found[0] not in OPPOSITES:
        return None
    old, new = found[0], dice.choice(OPPOSITES[found[0]])
    if old == "most" and re.search(r"\bmost (\w+ )?\w*[^u]s\b", solved.task):
        new = "fewest"
    query = sqlglot.parse_one(solved.sql, read=catalogue.dialect)
    peaks, orders = [*query.find_all(exp.Max, exp.Min)], [*query.find_all(exp.Ordered)]
    limited = bool(orders) and query.args.get("limit") is not None
    opposite = _columns_with(query, catalogue, old, new)
    if not opposite and not peaks and not limited:
        return None
    for peak in peaks:
        peak.replace((exp.Min if isinstance(peak, exp.Max) else exp.Max)(this=peak.this))
    for order in orders if limited else ():
        order.set("desc", None if order.args.get("desc") else True)
        order.set("nulls_first", not order.args.get("desc"))
    for column, other in opposite:
        column.set("this", exp.to_identifier(other.name))
    return Solved(_exchange(solved.task, old, new), query.sql(catalogue.dialect))


def other_column(solved: Solved, catalogue: Catalogue, dice: random.Random) -> Solved | None:
    """Another column in place of one that is asked for by its name."""
    query = sqlglot.parse_one(solved.sql, read=catalogue.dialect)
    peaked = query.find(exp.Max, exp.Min, exp.Order) is not None
    used = {(c.table, c.name) for c in query.find_all(exp.Column)}
    names = {word for column in catalogue.columns for word in parts(column.name)}
    for column in (c for part in query.expressions for c in part.find_all(exp.Column)):
        table = catalogue.tables.get(column.table, {})
        known = table.get(column.name)
        name = _said(known) if known else ""
        found = re.search(rf"(?:\b(\w+) )?\b{re.escape(name)}\b(?: (\w+))?", solved.task.lower())
        # Half of a name is none ("population density"), and "highest point" belongs to the extreme beside it.
        if known is None or not found or name == "name" or names & {*found.groups()} or (peaked and "est " in name):
            continue
        others = [
            c for c in table.values() if c.number == known.number and c.distinct != 1 and (c.number or not c.unique)
        ]
        others = [c for c in others if (c.table, c.name) not in used and not (peaked and "est " in _said(c))]
        if not others or _count(solved.task, name) != 1:
            continue
        other, old = dice.choice(others), (column.table, column.name)
        for same in query.find_all(exp.Column):
            if (same.table, same.name) == old:
                same.set("this", exp.to_identifier(other.name))
        return Solved(_exchange(solved.task, name, _said(other)), query.sql(catalogue.dialect))
    return None


def _columns_with(query: exp.Expr, catalogue: Catalogue, old: str, new: str) -> list[tuple[exp.Column, Column]]:
    """Columns whose name has the superlative (`highest_point`), and those that have the opposite."""
    found: list[tuple[exp.Column, Column]] = []
    for column in query.find_all(exp.Column):
        wanted = column.name.replace(old, new)
        other = catalogue.tables.get(column.table, {}).get(wanted) if wanted != column.name else None
        if other:
            found.append((column, other))
    return found


def _said(column: Column) -> str:
    """The column's name in words, without the table's: `altitude` for `mountain.mountain_altitude`."""
    words = parts(column.name)
    return " ".join([w for w in words if w not in parts(column.table)] or words)


def _count(text: str, words: str) -> int:
    return len(re.findall(rf"\b{re.escape(words)}\b", text, re.I))


def _exchange(text: str, old: str, new: str) -> str:
    return re.sub(rf"\b{re.escape(old)}\b", lambda _: new, text, flags=re.I)
