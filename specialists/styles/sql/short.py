"""The short SQL that the model writes, and the SQL that it stands for.

A small model finds columns well and joins badly, and a program the other way round. So every column is written with
its table, `FROM` and `JOIN` are left out, and follow from the tables that are named (the idea of NatSQL: Gan et al.,
Findings of EMNLP 2021). Three more things are said shorter than SQL says them:

    SELECT city.name WHERE city.state = 'ohio' AND city.people = MAX(city.people)    the largest among those in Ohio
    SELECT journal.name, COUNT(paper.*) GROUP BY journal.name                        rows of `paper`
    … HAVING COUNT(paper.*) = MAX(COUNT(paper.*))                                    the group with the most

A query that names its tables itself runs as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import networkx as nx
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from ....core.errors import MetierError, ToolError
from ....tools.database import Database, same_rows
from .schema import Catalogue, Join, quoted

Node = TypeVar("Node", bound=exp.Expr)


def expand(short: str, catalogue: Catalogue) -> str:
    """The SQL that a short query stands for.

    Raises:
        ToolError: it is no SQL, or names tables that nothing joins.
    """
    try:
        query = sqlglot.parse_one(short, read=catalogue.dialect)
    except (SqlglotError, RecursionError) as error:
        raise ToolError(f"not valid SQL: {str(error).splitlines()[0][:200]}") from None
    # From the inside out: what is copied into a subquery must be written out already.
    for select in [*query.find_all(exp.Select)][::-1]:
        _superlatives(select)
    for select in [*query.find_all(exp.Select)]:
        if not select.args.get("from_"):
            _say_from(select, catalogue)
    return query.sql(catalogue.dialect)


def own(select: exp.Select, kind: type[Node]) -> list[Node]:
    """The nodes of a kind that belong to this SELECT and not to one inside it."""
    return [node for node in select.find_all(kind) if node.find_ancestor(exp.Select) is select]


def conditions(select: exp.Select) -> list[exp.Expr]:
    """What WHERE demands, one by one."""
    where = select.args.get("where")
    return _parts(where.this) if where else []


def _parts(condition: exp.Expr) -> list[exp.Expr]:
    return [*condition.flatten()] if isinstance(condition, exp.And) else [condition]


def _superlatives(select: exp.Select) -> None:
    """`x = MAX(x)` becomes a subquery: in WHERE over rows that meet the other conditions, in HAVING over groups."""
    demands = conditions(select)
    peaks = [c for c in demands if is_peak(c)]
    for peak in peaks:
        inner = _like(select, exp.select(peak.expression.copy()))
        for other in demands:
            inner = inner if other in peaks else inner.where(other.copy())
        peak.set("expression", exp.Subquery(this=inner))
    having = select.args.get("having")
    if having and is_peak(having.this):
        groups = _like(select, exp.select(having.this.this.as_("size")))
        groups.set("where", select.args["where"].copy() if select.args.get("where") else None)
        groups.set("group", select.args["group"].copy() if select.args.get("group") else None)
        top = having.this.expression.__class__(this=exp.column("size", "sizes"))
        inner = exp.select(top).from_(groups.subquery("sizes"))
        having.this.set("expression", exp.Subquery(this=inner))


def is_peak(condition: exp.Expr) -> bool:
    """Whether it is `x = MAX(x)` or `x = MIN(x)`."""
    return isinstance(condition, exp.EQ) and isinstance(condition.expression, (exp.Max, exp.Min))


def _like(select: exp.Select, inner: exp.Select) -> exp.Select:
    """`inner` over the tables that `select` names itself, if it does."""
    if from_ := select.args.get("from_"):
        inner.set("from_", from_.copy())
        inner.set("joins", [join.copy() for join in select.args.get("joins") or []])
    return inner


def _say_from(select: exp.Select, catalogue: Catalogue) -> None:
    known = {table.lower(): table for table in catalogue.tables}
    named = [str(column.table) for column in own(select, exp.Column) if column.args.get("table")]
    unknown = [table for table in named if table.lower() not in known]
    if not named or unknown:
        tables = ", ".join(catalogue.tables)
        raise ToolError(f"no table {unknown[0]}; there are {tables}" if unknown else "the query names no table")
    first, joins = _tree([*dict.fromkeys(known[table.lower()] for table in named)], catalogue.joins)
    select.set("from_", exp.From(this=exp.to_table(catalogue.paths[first])))
    for table, (left, right) in joins:
        condition = f"{left.path} = {right.path}"
        select.append("joins", exp.Join(this=exp.to_table(catalogue.paths[table]), on=sqlglot.parse_one(condition)))
    for column in own(select, exp.Column):
        if isinstance(column.this, exp.Star) and isinstance(column.parent, exp.Count):
            column.replace(exp.Star())


def _tree(tables: list[str], graph: nx.Graph) -> tuple[str, list[tuple[str, Join]]]:
    """The first table, and how each further one is joined: the nearest next, by the shortest way."""
    within, joins = [tables[0]], list[tuple[str, Join]]()
    missing = set(tables[1:])
    while missing:
        nearest: Any = nx.multi_source_dijkstra(graph, set(within), weight="weight")
        costs, ways = nearest
        near = min((t for t in missing if t in costs), key=lambda t: (costs[t], t), default=None)
        if near is None:
            raise ToolError(f"nothing joins {', '.join(sorted(missing))} to {', '.join(within)}")
        for before, table in zip(ways[near], ways[near][1:], strict=False):
            if table not in within:
                joins.append((table, graph.edges[before, table]["join"]))
                within.append(table)
        missing -= set(within)
    return tables[0], joins


# The other way round: SQL as the short SQL that the model writes, where that gives the same rows.


def shorten_sql(gold: str, catalogue: Catalogue, database: Database) -> str | None:
    """The shortest form that gives the query's rows; None when there is none that the model may write.

    The model's grammar knows neither names for results nor tables that are queries themselves.
    """
    try:
        truth = database.query(gold)
        plain = _plain(gold, catalogue)
    except (MetierError, SqlglotError):
        return None
    for query in (_without_from(plain.copy(), catalogue), _without_from(_nested(plain.copy()), catalogue), plain):
        if query.find(exp.TableAlias, exp.Alias, exp.With):
            continue
        text = query.sql(catalogue.dialect)
        try:
            if same_rows(database.query(expand(text, catalogue)), truth, ordered=bool(plain.args.get("order"))):
                return text
        except MetierError:
            continue
    return None


def _plain(gold: str, catalogue: Catalogue) -> exp.Expr:
    """Without aliases and detours."""
    query = sqlglot.parse_one(gold.rstrip("; "), read=catalogue.dialect)
    for table in query.find_all(exp.Table):
        table.set("this", _identifier(_actual(table.name, catalogue.tables)))
    known = {column.name.lower() for column in catalogue.columns}
    for column in [*query.find_all(exp.Column)]:
        # SQLite reads "texas" as a text where no column has that name.
        if column.this.args.get("quoted") and column.name.lower() not in known:
            column.replace(exp.Literal.string(column.name))
    for scope in traverse_scope(query):
        _without_aliases(scope, catalogue)
    # What is put in a node's place is not looked into, so once is not enough.
    for _ in range(3):
        query = query.transform(_simpler)
    return query


def _without_aliases(scope: Scope, catalogue: Catalogue) -> None:
    """Columns get their table's own name; names given to results are replaced by what they stand for."""
    select = scope.expression
    if not isinstance(select, exp.Select):
        return
    tables = {alias: s.name for alias, s in scope.sources.items() if isinstance(s, exp.Table)}
    _resolve(select)
    once = len(set(tables.values())) == len(tables)
    for column in own(select, exp.Column):
        _qualify(column, tables, catalogue, rename=once)
    if once:
        for source in scope.sources.values():
            if isinstance(source, exp.Table):
                source.set("alias", None)
    if scope.is_root or scope.is_subquery:
        select.set("expressions", [p.unalias() for p in select.expressions])


def _resolve(select: exp.Select) -> None:
    """`GROUP BY 1` and `ORDER BY total` name results of the query: they get what those stand for."""
    results = {p.alias: p.this for p in select.expressions if isinstance(p, exp.Alias)}
    for column in own(select, exp.Column):
        if not column.table and column.name in results and column.find_ancestor(exp.Order, exp.Having, exp.Group):
            column.replace(results[column.name].copy())
    for group in select.args["group"].expressions if select.args.get("group") else []:
        if isinstance(group, exp.Literal) and group.is_int:
            group.replace(select.expressions[int(group.this) - 1].unalias().copy())


def _qualify(column: exp.Expr, tables: dict[str, str], catalogue: Catalogue, *, rename: bool) -> None:
    alias, name = column.args.get("table"), column.name.lower()
    if alias is None:
        holders = [t for t in tables.values() if name in {c.lower() for c in catalogue.tables.get(t, ())}]
        if holders and not isinstance(column.this, exp.Star):
            column.set("table", _identifier(holders[0]))
    elif alias.name in tables and rename:
        column.set("table", _identifier(tables[alias.name]))
    table = column.args.get("table")
    if table is not None and table.name in catalogue.tables and not isinstance(column.this, exp.Star):
        column.set("this", _identifier(_actual(column.name, catalogue.tables[table.name])))


def _identifier(name: str) -> exp.Identifier:
    """A name that is there, in quotes where it needs them."""
    return exp.to_identifier(name, quoted=quoted(name) != name)


def _actual(name: str, names: Iterable[str]) -> str:
    """The name as the schema spells it."""
    return next((n for n in names if n.lower() == name.lower()), name)


def _simpler(node: exp.Expr) -> exp.Expr:
    """One node, said as the model should say it."""
    match node:
        case exp.Ordered():
            node.set("desc", node.args.get("desc") or None)
            node.set("nulls_first", not node.args.get("desc"))
        case exp.Like():
            node.set("this", _bare(node.this))
            node.set("expression", _bare(node.expression))
        case exp.Cast(this=inner) if isinstance(node.parent, exp.Div):
            return exp.Mul(this=exp.Literal.number("1.0"), expression=inner)
        case exp.Nullif(this=inner) if isinstance(node.parent, exp.Div):
            return inner
        case exp.Count(this=exp.Literal()):
            return exp.Count(this=exp.Star())
        case exp.Paren(this=exp.Column() | exp.Literal() | exp.EQ() | exp.GT() | exp.LT() as inner):
            return inner
    return node


def _bare(text: exp.Expr) -> exp.Expr:
    """SQLite's LIKE does not look at case, so neither side needs LOWER."""
    while isinstance(text, exp.Lower):
        text = text.this
    return text


def _without_from(query: exp.Expr, catalogue: Catalogue) -> exp.Expr:
    """`FROM` and `JOIN` left out wherever the columns tell the tables."""
    for select in [*query.find_all(exp.Select)][::-1]:
        from_, joins = select.args.get("from_"), select.args.get("joins") or []
        sources = [from_.this, *(join.this for join in joins)] if from_ else []
        if not sources or any(
            not isinstance(s, exp.Table) or s.alias or s.name not in catalogue.tables for s in sources
        ):
            continue
        if any(join.side for join in joins):
            continue
        _shorter_count(select, sources[0].name)
        named = {c.table for c in own(select, exp.Column)}
        if not named:
            continue
        _without_join_conditions(select)
        select.set("from_", None)
        select.set("joins", None)
    for select in [*query.find_all(exp.Select)][::-1]:
        _superlative(select)
        _most(select)
    return query


def _shorter_count(select: exp.Select, table: str) -> None:
    for count in own(select, exp.Count):
        if isinstance(count.this, exp.Star):
            count.set("this", exp.Column(this=exp.Star(), table=exp.to_identifier(table)))


def _without_join_conditions(select: exp.Select) -> None:
    """Columns set equal to columns of other tables: joins written in WHERE."""
    kept = [c for c in conditions(select) if not _joins(c)]
    select.set("where", exp.Where(this=exp.and_(*kept, copy=False, wrap=False)) if kept else None)


def _joins(condition: exp.Expr) -> bool:
    sides = (condition.this, condition.args.get("expression"))
    return (
        isinstance(condition, exp.EQ)
        and all(isinstance(s, exp.Column) for s in sides)
        and len({s.table for s in sides if isinstance(s, exp.Column)}) == 2
    )


def _nested(query: exp.Expr) -> exp.Expr:
    """Tables that only narrow down the rows of another one move into `IN (SELECT …)`."""
    for select in [*query.find_all(exp.Select)][::-1]:
        tables = [t.name for t in own(select, exp.Table)]
        wanted = {c.table for c in own(select, exp.Column) if not c.find_ancestor(exp.Where, exp.Join)}
        if len(tables) < 2 or len(set(tables)) < len(tables) or len(wanted) != 1:
            continue
        joined = [on for join in own(select, exp.Join) if (on := join.args.get("on"))]
        demands = conditions(select) + [part for on in joined for part in _parts(on)]
        select.set("joins", None)
        select.set("from_", exp.From(this=exp.Table(this=_identifier(wanted.copy().pop()))))
        kept = _narrowed(wanted.pop(), demands)
        select.set("where", exp.Where(this=exp.and_(*kept, copy=False, wrap=False)) if kept else None)
    return query


def _narrowed(table: str, demands: list[exp.Expr]) -> list[exp.Expr]:
    """The conditions on one table, those on tables joined to it as `IN`; takes them out of `demands`."""
    kept = [c for c in demands if not _joins(c) and {x.table for x in _columns(c)} == {table}]
    joins = [c for c in demands if _joins(c) and table in (c.this.table, c.expression.table)]
    for condition in [*kept, *joins]:
        demands.remove(condition)
    for join in joins:
        mine, other = (join.this, join.expression) if join.this.table == table else (join.expression, join.this)
        inner = exp.select(other.copy()).from_(exp.Table(this=_identifier(other.table)))
        for condition in _narrowed(other.table, demands):
            inner = inner.where(condition)
        kept.append(exp.In(this=mine.copy(), query=exp.Subquery(this=inner)))
    return kept


def _columns(condition: exp.Expr) -> list[exp.Column]:
    """Those that stand in the condition itself, not in a query inside it."""
    select = condition.find_ancestor(exp.Select)
    return [column for column in condition.find_all(exp.Column) if column.find_ancestor(exp.Select) is select]


def _most(select: exp.Select) -> None:
    """The group with the highest count, said in one line; a wrong guess does not give the gold rows."""
    having = select.args.get("having")
    if not having or not isinstance(having.this, exp.EQ) or not isinstance(having.this.expression, exp.Subquery):
        _most_of_groups(select)
    elif peak := having.this.expression.find(exp.Max, exp.Min):
        having.this.set("expression", peak.__class__(this=having.this.this.copy()))


def _most_of_groups(select: exp.Select) -> None:
    """The same, where the groups are a query that FROM names."""
    from_, demands = select.args.get("from_"), conditions(select)
    groups = from_.this.this if from_ and isinstance(from_.this, exp.Subquery) else None
    peak = demands[0].find(exp.Max, exp.Min) if demands and isinstance(demands[0], exp.EQ) else None
    sizes = [p.this for p in groups.expressions if isinstance(p, exp.Alias)] if groups else []
    if groups and peak and len(sizes) == 1:
        groups.set("expressions", [p for p in groups.expressions if not isinstance(p, exp.Alias)])
        groups.set("having", exp.Having(this=exp.EQ(this=sizes[0], expression=peak.__class__(this=sizes[0].copy()))))
        select.replace(groups)


def _superlative(select: exp.Select) -> None:
    """`x = (SELECT MAX(x) …)` over the rows that meet the other conditions becomes `x = MAX(x)`."""
    demands = conditions(select)
    for condition in demands:
        if not isinstance(condition, exp.EQ) or not isinstance(condition.expression, exp.Subquery):
            continue
        inner = condition.expression.this
        peak = inner.expressions[0] if isinstance(inner, exp.Select) and len(inner.expressions) == 1 else None
        if not isinstance(peak, (exp.Max, exp.Min)) or peak.this != condition.this or inner.args.get("from_"):
            continue
        if {c.sql() for c in conditions(inner)} == {c.sql() for c in demands if c is not condition}:
            condition.set("expression", peak.copy())
