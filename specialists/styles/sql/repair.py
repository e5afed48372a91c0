"""What a program knows better than a small model about a query that it wrote: what is mended before it runs (`repair`),
and what speaks against it (`objections`).

Nothing here is a matter of taste. A text is looked for where the database holds it, and what the question names is
asked for; what it says nothing of is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ....core.text import stem
from .prompt import likeliest, named_values
from .schema import Catalogue, Column, parts
from .short import conditions, is_peak, own

_SUPERLATIVE = re.compile(
    r"\b(\w{2,}est|most|least|best|worst|top|bottom|max\w*|min\w*|first|last|(?:more|fewer|less) than any)\b", re.I
)

_IN_ORDER = re.compile(r"\b((?:order|sort|rank)(?:ed|s)?\b.{0,20}\b(?:by|from)|(?:a|de)scending|alphabetical)\b", re.I)

NamedValues = Mapping[str, Sequence[Column]]
"""A value that the question names → the columns that hold it, the likeliest first."""


def repair(short: str, task: str, catalogue: Catalogue) -> str:
    """The query as the task and the database want it; one that cannot be read stays as it is.

    Left out: conditions on texts of which no word is in the task, an extreme value where the task has no superlative,
    a single row where it asks for an order. Moved: a condition on a text that another column holds. Added: a condition
    on a value that the task names and the query does not.
    """
    try:
        query = sqlglot.parse_one(short, read=catalogue.dialect)
    except (SqlglotError, RecursionError):
        return short
    asked, extreme = _stems(task), bool(_SUPERLATIVE.search(task))
    limit = query.args.get("limit")
    if limit and limit.expression.name == "1" and _IN_ORDER.search(task):
        query.set("limit", None)
    values = named_values(task, catalogue, catalogue.columns)
    for select in [*query.find_all(exp.Select)]:
        demands = conditions(select)
        _demand(select, [c for c in demands if _spoken_of(c, asked) and (extreme or not is_peak(c))])
        _place(select, task, values, catalogue)
    for value in _unused(query, values, catalogue):
        _add(query, value, values[value])
    return query.sql(catalogue.dialect)


def distinct(query: str, dialect: str) -> str | None:
    """The query without repeated rows; None where rows are counted or grouped, and equal ones mean something."""
    select = sqlglot.parse_one(query, read=dialect)
    if not isinstance(select, exp.Select) or select.args.get("group"):
        return None
    if any(part.find(exp.AggFunc) for part in select.expressions):
        return None
    return select.distinct().sql(dialect)


def _demand(select: exp.Select, kept: Sequence[exp.Expr]) -> None:
    if len(kept) != len(conditions(select)):
        select.set("where", exp.Where(this=exp.and_(*kept, copy=False, wrap=False)) if kept else None)


def _spoken_of(condition: exp.Expr, asked: set[str]) -> bool:
    """Whether the text that a column is compared with shares a word with the task; other conditions always."""
    text = _compared(condition)
    return text is None or not (words := _stems(text.this)) or bool(words & asked)


def _compared(condition: exp.Expr) -> exp.Literal | None:
    """The text that a column is compared with."""
    text = condition.args.get("expression")
    right = isinstance(condition, exp.EQ | exp.Like) and isinstance(condition.this, exp.Column)
    return text if right and isinstance(text, exp.Literal) and text.is_string else None


def _place(select: exp.Select, task: str, values: NamedValues, catalogue: Catalogue) -> None:
    """Conditions on texts go to columns that hold them, spelt as they stand there."""
    spelt = {value.lower(): value for value in values}
    for condition in [*own(select, exp.EQ), *own(select, exp.Like)]:
        text = _compared(condition)
        if text is None or not re.search(r"[^\W\d_]", text.this):
            continue
        words: str = text.this.strip("%")
        value = spelt.get(words.lower(), words)
        if isinstance(condition, exp.EQ):
            text.replace(exp.Literal.string(value))
        column = catalogue.tables.get(condition.this.table, {}).get(condition.this.name)
        if column and column.values and _may_hold(column, value) and value not in column.values:
            condition.replace(exp.Like(this=condition.this, expression=exp.Literal.string(f"%{value}%")))
        if column is None or _may_hold(column, value):
            continue
        holders = values.get(value) or _holders(value, task, catalogue, anywhere=column.number)
        if holder := _holder(select, holders):
            condition.this.replace(_column(holder))


def _holders(value: str, task: str, catalogue: Catalogue, *, anywhere: bool) -> list[Column]:
    """The columns that may hold a text, the likeliest first; where none does and it is to go `anywhere`, any text."""
    texts = [column for column in catalogue.columns if column.values]
    holders = [column for column in texts if _may_hold(column, value)]
    return likeliest(holders or (texts if anywhere else []), value, task, catalogue)


def _column(column: Column) -> exp.Expr:
    return sqlglot.parse_one(column.path, into=exp.Column)


def _may_hold(column: Column, value: str) -> bool:
    """Whether some text of the column has the value in it; True where its texts are not known."""
    if column.number:
        return False
    return not column.values or any(value.lower() in text.lower() for text in column.values)


def _holder(select: exp.Select, columns: Sequence[Column]) -> Column | None:
    """The likeliest column of the tables that the query is about; else, where it names no tables itself, of any."""
    if not columns:
        return None
    tables = {column.table for column in own(select, exp.Column)}
    near = next((c for c in columns if c.table in tables), None)
    return near or (None if select.args.get("from_") else columns[0])


def _unused(query: exp.Expr, values: NamedValues, catalogue: Catalogue) -> list[str]:
    """Named values of which no text of the query speaks. Words that name columns ("high point") may be no values."""
    texts = [literal.this.strip("%").lower() for literal in query.find_all(exp.Literal) if literal.is_string]
    names = " ".join(name.lower() for table, columns in catalogue.tables.items() for name in (table, *columns))
    return [
        value
        for value in values
        if not any(value.lower() in text or text in value.lower() for text in texts)
        and not all(word in names for word in value.lower().split())
    ]


def _add(query: exp.Expr, value: str, columns: Sequence[Column]) -> None:
    """Ask for a value in the innermost query whose tables hold it, by a column that is not what is asked for."""
    for select in [*query.find_all(exp.Select)][::-1]:
        shown = {c.sql() for part in select.expressions for c in part.find_all(exp.Column)}
        bound = {c.this.sql() for c in conditions(select) if _compared(c)}
        tables = {column.table for column in own(select, exp.Column)}
        fit = next((c for c in columns if c.table in tables and c.path not in shown | bound), None)
        if fit:
            condition = exp.EQ(this=_column(fit), expression=exp.Literal.string(value))
            _demand(select, [*conditions(select), condition])
            return


def _stems(text: str) -> set[str]:
    return {stem(word) for word in re.findall(r"[^\W_]+", text.lower())}


# What speaks against a query, seen from outside: signs that it does not do what the question says.

Sign = Callable[[str, exp.Expr, Catalogue], bool]
"""Question in lower case, query and database → whether something is wrong."""

NOT_EXTREME = frozenset(
    ("interest", "request", "test", "latest", "guest", "forest", "west", "invest", "harvest", "quest")
)

_AGGREGATES = (
    ({"average", "mean", "avg"}, (exp.Avg, exp.Div)),
    ({"total", "combined", "sum"}, (exp.Sum, exp.Count)),
)


def objections(short: str, task: str, catalogue: Catalogue) -> int:
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
    counted = re.search(r"\bhow many (?:\w+ )?(\w{3,})", task)
    words = {stem(word) for word in counted[0].split()[2:]} if counted else set()
    if not words & {word for stems in catalogue.stems.values() for word in stems}:
        return False
    named = {stem(part) for column in query.find_all(exp.Column) for part in parts(column.name)}
    return query.find(exp.Count, exp.Sum) is None and not words & named


def lacks_an_extreme(task: str, query: exp.Expr, catalogue: Catalogue) -> bool:
    """A superlative, and neither an extreme nor an order, nor a column that is called so (`highest_point`)."""
    superlatives = set(re.findall(r"(?<!\bat )\b(\w{3,}est|most|least|maximum|minimum)\b", task)) - NOT_EXTREME
    if not superlatives or query.find(exp.Max, exp.Min, exp.Order):
        return False
    return not superlatives & {part for column in query.find_all(exp.Column) for part in parts(column.name)}


def lacks_an_aggregate(task: str, query: exp.Expr, catalogue: Catalogue) -> bool:
    """An average or a total that is not taken, nor a column that is called so."""
    called = {part for column in query.find_all(exp.Column) for part in parts(column.name)}
    for words, kinds in _AGGREGATES:
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
        words = column.words
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
