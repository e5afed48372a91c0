"""Look-up and aggregation over tables without SQL: the model fills a schema of real table and column names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field, create_model

from ...core.errors import ToolError, unknown
from ..database import Database, QueryResult, open_database, show_rows
from ..policy import Effects
from ..tool import ToolContext, declare

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "contains", "is empty", "is not empty"]
Aggregate = Literal["count", "sum", "avg", "min", "max"]


class Filter(BaseModel):
    """One condition; all conditions must hold."""

    model_config = ConfigDict(extra="forbid")

    column: str
    operator: Operator = "="
    value: str | int | float | None = None


class TableQuery(BaseModel):
    """What to read from one table."""

    model_config = ConfigDict(extra="forbid")

    table: str = Field(description="the table to read")
    filters: list[Filter] = Field(default_factory=list, max_length=8, description="conditions that must all hold")
    columns: list[str] = Field(default_factory=list, max_length=20, description="columns to show; empty shows all")
    function: Aggregate | None = Field(default=None, description="compute this instead of listing rows")
    of: str | None = Field(default=None, description="the column to compute on; not needed for count")
    group_by: list[str] = Field(default_factory=list, max_length=4, description="one result for each value of these")
    order_by: str | None = Field(default=None, description="column to sort by; 'result' is the computed value")
    descending: bool = Field(default=False, description="largest first")
    limit: int = Field(default=10, ge=1, le=100, description="rows to show at most")


def table(
    context: ToolContext, *, source: str, sensitive: bool = True, untrusted: bool = False, name: str = "query_table"
) -> list[BaseTool]:
    """The tool `query_table`.

    Args:
        source: a .csv or .sqlite file, or a folder of CSV files, inside the specialist's folder.
        sensitive: whether the data must not leave.
        untrusted: whether strangers may have written some of it.
        name: another name, for a specialist with several sources.
    """
    database = open_database(context.path(source))

    def query_table(**arguments: Any) -> str:
        query = TableQuery.model_validate(arguments, from_attributes=True)
        return show_rows(run(database, query), rows=query.limit)

    query_tool = StructuredTool.from_function(
        query_table,
        name=name,
        description="Look up rows of a table, or count, sum, average, minimum and maximum of a column.",
        args_schema=schema(database),
    )
    return [declare(query_tool, Effects(effect="read", untrusted_output=untrusted, sensitive=sensitive))]


def run(database: Database, query: TableQuery) -> QueryResult:
    """Answer the query; whoever shows it applies `limit`.

    Values travel as parameters and names are looked up, so that no text of the query becomes SQL.

    Raises:
        ToolError: an unknown table or column, or a query that does not make sense.
    """
    tables = database.schema()
    if query.table not in tables:
        raise ToolError(unknown("table", query.table, tables))
    known = tables[query.table]

    def column(name: str) -> str:
        if name not in known:
            raise ToolError(unknown(f"column of {query.table}", name, known))
        return _quote(name)

    shown, grouped = _selection(query, column)
    conditions, values = [], []
    for condition in query.filters:
        text, value = _condition(column(condition.column), condition)
        conditions.append(text)
        values += value
    sql = f"SELECT {shown} FROM {_quote(query.table)}"
    sql += f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql += f" GROUP BY {grouped}" if grouped else ""
    if query.order_by:
        order = '"result"' if query.order_by == "result" and query.function else column(query.order_by)
        sql += f" ORDER BY {order} {'DESC' if query.descending else 'ASC'}"
    return database.query(sql, values)


def _selection(query: TableQuery, column: Any) -> tuple[str, str]:
    """What to select, and what to group by."""
    if query.function is None:
        if query.group_by or query.of:
            raise ToolError("'group_by' and 'of' need a 'function'", hint="count, sum, avg, min or max")
        return ", ".join(map(column, query.columns)) or "*", ""
    if query.function != "count" and not query.of:
        raise ToolError(f"{query.function} of which column?", hint="name it in 'of'")
    grouped = ", ".join(map(column, query.group_by))
    measure = f'{query.function.upper()}({column(query.of) if query.of else "*"}) AS "result"'
    return f"{grouped}, {measure}" if grouped else measure, grouped


def _condition(column: str, condition: Filter) -> tuple[str, list[Any]]:
    match condition.operator:
        case "is empty":
            return f"({column} IS NULL OR {column} = '')", []
        case "is not empty":
            return f"({column} IS NOT NULL AND {column} <> '')", []
        case _ if condition.value is None:
            raise ToolError(f"the condition on {column} has no value")
        case "contains":
            return f"INSTR(LOWER({column}), LOWER(?)) > 0", [str(condition.value)]
        case "=" | "!=" if isinstance(condition.value, str):
            return f"LOWER({column}) {condition.operator} LOWER(?)", [condition.value]
        case operator:
            return f"{column} {operator} ?", [condition.value]


def schema(database: Database) -> type[BaseModel]:
    """`TableQuery` with this database's names as enums, so that a grammar can only produce real ones."""
    tables = database.schema()
    if not tables:
        raise ToolError("the source has no tables")
    names = _enum(tables)
    columns = _enum(c for t in tables.values() for c in t)
    condition = create_model("Condition", __base__=Filter, column=(columns, ...))
    fields = TableQuery.model_fields

    def like(field: str, kind: Any) -> tuple[Any, Any]:
        return kind, fields[field]

    return create_model(
        "QueryTable",
        __base__=TableQuery,
        table=like("table", names),
        filters=like("filters", list[condition]),
        columns=like("columns", list[columns]),
        of=like("of", columns | None),
        group_by=like("group_by", list[columns]),
    )


def _enum(names: Iterable[str]) -> Any:
    """The type of a string that is one of these."""
    return Literal[tuple(sorted(set(names)))]  # pyright: ignore


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
