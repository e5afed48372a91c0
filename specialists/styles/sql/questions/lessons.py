"""What an adapter for one database learns from: its answered questions, more questions made out of them, and prompts.

Another value, the other extreme, another column, in question and SQL alike: the idea of data recombination for semantic
parsing (Jia and Liang, ACL 2016), with words in place of a grammar. Where a question names a value or a column as the
database does, both can be exchanged without understanding the rest.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import islice

import sqlglot
from sqlglot import exp

from .....tools.database import Database
from ....prompt import TrainingExample
from ..prompt import Solved, prompt
from ..schema import Catalogue, Column, parts
from .own import answered, own_questions

TOGETHER = 5
"""Questions of one database in one prompt."""

_AROUND = 100
"""Made-up questions about a team's database."""

_OPPOSITES = {
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

_TRIES = 3
"""Exchanges of each kind for one question."""


def made_up(solved: Sequence[Solved], catalogue: Catalogue, database: Database, dice: random.Random) -> list[Solved]:
    """Questions made out of answered ones, and made up about the database itself; all have an answer."""
    others = [other for one in solved for other in recombined(one, catalogue, dice)]
    questions = [other for other in others if answered(other.sql, catalogue, database)]
    questions += islice(own_questions(catalogue, database, dice), _AROUND)
    dice.shuffle(questions)
    return questions


def in_turn(solved: Sequence[Solved], catalogue: Catalogue, instructions: str = "") -> list[TrainingExample]:
    """Prompts with `TOGETHER` questions each."""
    return [together(catalogue, solved[n : n + TOGETHER], instructions) for n in range(0, len(solved), TOGETHER)]


def together(catalogue: Catalogue, solved: Sequence[Solved], instructions: str = "") -> TrainingExample:
    """One prompt with several questions; all their answers are learnt."""
    *shots, last = solved
    about = " ".join(s.task for s in solved)
    messages, _ = prompt(last.task, catalogue, shots, about=about, instructions=instructions)
    return TrainingExample(messages, last.sql)


# More questions out of an answered one.


def recombined(solved: Solved, catalogue: Catalogue, dice: random.Random) -> Iterator[Solved]:
    """Other questions with their short SQL. Not all of them have an answer: whoever uses them runs them first."""
    for change in (other_value, other_extreme, other_column):
        yield from dict.fromkeys(made for _ in range(_TRIES) if (made := change(solved, catalogue, dice)))


def other_value(solved: Solved, catalogue: Catalogue, dice: random.Random) -> Solved | None:
    """Another value of the column that a text is compared with."""
    query = sqlglot.parse_one(solved.sql, read=catalogue.dialect)
    for condition in query.find_all(exp.EQ, exp.Like):
        text, column = condition.expression, condition.this
        if not (isinstance(column, exp.Column) and isinstance(text, exp.Literal) and text.is_string):
            continue
        value, holder = text.this.strip("%"), catalogue.tables.get(column.table, {}).get(column.name)
        others = [v for v in holder.values if v.lower() != value.lower()] if holder else []
        if not others or not re.search(rf"\b{re.escape(value.lower())}\b", solved.task.lower()):
            continue
        other = dice.choice(others)
        for literal in query.find_all(exp.Literal):
            if literal.is_string and literal.this.strip("%") == value:
                literal.replace(exp.Literal.string(literal.this.replace(value, other)))
        spelt = other.lower() if solved.task.islower() else other
        return Solved(_exchange(solved.task, value, spelt), query.sql(catalogue.dialect))
    return None


def other_extreme(solved: Solved, catalogue: Catalogue, dice: random.Random) -> Solved | None:
    """The lowest in place of the highest, where the question has one superlative and the SQL one extreme."""
    superlatives = re.findall(r"\b(?:\w{3,}est|most|least|best|worst|maximum|minimum)\b", solved.task.lower())
    if len(superlatives) != 1 or superlatives[0] not in _OPPOSITES:
        return None
    old, new = superlatives[0], dice.choice(_OPPOSITES[superlatives[0]])
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
    for shown in (c for part in query.expressions for c in part.find_all(exp.Column)):
        column = catalogue.tables.get(shown.table, {}).get(shown.name)
        others = _others(column, query, catalogue) if column and _is_named(column, query, solved, catalogue) else []
        if column is None or not others:
            continue
        other, old = dice.choice(others), (shown.table, shown.name)
        for same in query.find_all(exp.Column):
            if (same.table, same.name) == old:
                same.set("this", exp.to_identifier(other.name))
        return Solved(_exchange(solved.task, _in_words(column), _in_words(other)), query.sql(catalogue.dialect))
    return None


def _is_named(column: Column, query: exp.Expr, solved: Solved, catalogue: Catalogue) -> bool:
    """Whether the question calls a column by its name, once.

    Half of a name is none ("population density"), and "highest point" belongs to the extreme beside it.
    """
    name = _in_words(column)
    near = re.search(rf"(?:\b(\w+) )?\b{re.escape(name)}\b(?: (\w+))?", solved.task.lower())
    if not near or name == "name" or (_is_peaked(query) and "est " in name):
        return False
    words = {word for known in catalogue.columns for word in known.words}
    return not words & {*near.groups()} and len(re.findall(rf"\b{re.escape(name)}\b", solved.task, re.I)) == 1


def _others(column: Column, query: exp.Expr, catalogue: Catalogue) -> list[Column]:
    """What may stand in a column's place: of its kind, not asked for yet, and with more than one value."""
    used = {(c.table, c.name) for c in query.find_all(exp.Column)}
    peaked = _is_peaked(query)
    return [
        other
        for other in catalogue.tables[column.table].values()
        if other.number == column.number and other.distinct != 1 and (other.number or not other.unique)
        if (other.table, other.name) not in used and not (peaked and "est " in _in_words(other))
    ]


def _is_peaked(query: exp.Expr) -> bool:
    return query.find(exp.Max, exp.Min, exp.Order) is not None


def _columns_with(query: exp.Expr, catalogue: Catalogue, old: str, new: str) -> list[tuple[exp.Column, Column]]:
    """Columns whose name has the superlative (`highest_point`), and those that have the opposite."""
    pairs: list[tuple[exp.Column, Column]] = []
    for column in query.find_all(exp.Column):
        wanted = column.name.replace(old, new)
        other = catalogue.tables.get(column.table, {}).get(wanted) if wanted != column.name else None
        if other:
            pairs.append((column, other))
    return pairs


def _in_words(column: Column) -> str:
    """The column's name in words, without the table's: `altitude` for `mountain.mountain_altitude`."""
    return " ".join([word for word in column.words if word not in parts(column.table)] or column.words)


def _exchange(text: str, old: str, new: str) -> str:
    return re.sub(rf"\b{re.escape(old)}\b", lambda _: new, text, flags=re.I)
