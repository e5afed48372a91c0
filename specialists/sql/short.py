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

from collections.abc import Iterator
from typing import Any, TypeVar

import networkx as nx
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ...core.errors import ToolError
from .catalogue import Catalogue, Join, quoted

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


def own(select: exp.Select, kind: type[Node]) -> Iterator[Node]:
    """The nodes of a kind that belong to this SELECT and not to one inside it."""
    for node in select.find_all(kind):
        if node.find_ancestor(exp.Select) is select:
            yield node


def conditions(select: exp.Select) -> list[exp.Expr]:
    """What WHERE demands, one by one."""
    where = select.args.get("where")
    return [*where.this.flatten()] if where and isinstance(where.this, exp.And) else [where.this] if where else []


def _superlatives(select: exp.Select) -> None:
    """`x = MAX(x)` becomes a subquery: in WHERE over rows that meet the other conditions, in HAVING over groups."""
    found = conditions(select)
    peaks = [c for c in found if is_peak(c)]
    for peak in peaks:
        inner = _like(select, exp.select(peak.expression.copy()))
        for other in found:
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
    order, joins = _tree([*dict.fromkeys(known[table.lower()] for table in named)], catalogue.joins)
    select.set("from_", exp.From(this=exp.to_table(quoted(order))))
    for table, (left, right) in joins:
        condition = f"{left.path} = {right.path}"
        select.append("joins", exp.Join(this=exp.to_table(quoted(table)), on=sqlglot.parse_one(condition)))
    for column in [*own(select, exp.Column)]:
        if isinstance(column.this, exp.Star) and isinstance(column.parent, exp.Count):
            column.replace(exp.Star())


def _tree(tables: list[str], graph: nx.Graph) -> tuple[str, list[tuple[str, Join]]]:
    """The first table, and how each further one is joined: the nearest next, by the shortest way."""
    within, joins = [tables[0]], list[tuple[str, Join]]()
    missing = set(tables[1:])
    while missing:
        found: Any = nx.multi_source_dijkstra(graph, set(within), weight="weight")
        costs, ways = found
        near = min((t for t in missing if t in costs), key=lambda t: (costs[t], t), default=None)
        if near is None:
            raise ToolError(f"nothing joins {', '.join(sorted(missing))} to {', '.join(within)}")
        for before, table in zip(ways[near], ways[near][1:], strict=False):
            if table not in within:
                joins.append((table, graph.edges[before, table]["join"]))
                within.append(table)
        missing -= set(within)
    return tables[0], joins
