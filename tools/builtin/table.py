"""Look-up and aggregation over tables without SQL: the model fills a schema of real table and column names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field, create_model

from ...core.cells import dates, numbers
from ...core.errors import ToolError, unknown
from ..database import Database, QueryResult, open_database, quote_name, show_rows
from ..policy import Effects
from ..sql_meaning import LookedAtColumns
from ..text_columns import TextColumn
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
    columns = _Columns(LookedAtColumns(database), query.table)
    shown, grouped = _selection(query, columns)
    conditions, values = [], []
    for condition in query.filters:
        text, value = _condition(columns, condition)
        conditions.append(text)
        values += value
    sql = f"SELECT {shown} FROM {quote_name(query.table)}"
    sql += f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql += f" GROUP BY {grouped}" if grouped else ""
    if query.order_by:
        order = '"result"' if query.order_by == "result" and query.function else columns.in_order(query.order_by)
        sql += f" ORDER BY {order} {'DESC' if query.descending else 'ASC'}"
    return database.query(sql, values)


class _Columns:
    """The columns of one table as SQL. What is text there may be numbers or dates: its values tell."""

    def __init__(self, facts: LookedAtColumns, table: str) -> None:
        self._facts, self._table = facts, table

    def name(self, column: str) -> str:
        """In quotes."""
        known = self._facts.names[self._table]
        if column not in known:
            raise ToolError(unknown(f"column of {self._table}", column, known))
        return quote_name(column)

    def text(self, column: str) -> TextColumn | None:
        """What the texts of a column are; None for a column of numbers."""
        self.name(column)
        return self._facts.facts(self._table, column).text

    def in_order(self, column: str) -> str:
        """As SQL that sorts and compares as people do."""
        text = self.text(column)
        if text and text.doubt:
            raise ToolError(f"'{column}' of {self._table} cannot be compared: {text.doubt}")
        return text.sql(self.name(column)) if text else self.name(column)

    def amount(self, column: str) -> str:
        """As SQL that gives numbers."""
        text = self.text(column)
        if text and (text.doubt or not text.numbers):
            why = f": {text.doubt}" if text.doubt else ""
            raise ToolError(f"'{column}' of {self._table} is text, not numbers{why}")
        return text.sql(self.name(column)) if text else self.name(column)


def _selection(query: TableQuery, columns: _Columns) -> tuple[str, str]:
    """What to select, and what to group by."""
    if query.function is None:
        if query.group_by or query.of:
            raise ToolError("'group_by' and 'of' need a 'function'", hint="count, sum, avg, min or max")
        return ", ".join(map(columns.name, query.columns)) or "*", ""
    if query.function != "count" and not query.of:
        raise ToolError(f"{query.function} of which column?", hint="name it in 'of'")
    grouped = ", ".join(map(columns.name, query.group_by))
    measured = {"count": columns.name, "sum": columns.amount, "avg": columns.amount}.get(
        query.function, columns.in_order
    )
    measure = f'{query.function.upper()}({measured(query.of) if query.of else "*"}) AS "result"'
    return f"{grouped}, {measure}" if grouped else measure, grouped


def _condition(columns: _Columns, condition: Filter) -> tuple[str, list[Any]]:
    column, value = columns.name(condition.column), condition.value
    match condition.operator:
        case "is empty":
            return f"({column} IS NULL OR {column} = '')", []
        case "is not empty":
            return f"({column} IS NOT NULL AND {column} <> '')", []
        case _ if value is None:
            raise ToolError(f"the condition on {column} has no value")
        case "contains":
            return f"INSTR(LOWER({column}), LOWER(?)) > 0", [str(value)]
        case "=" | "!=" as operator:
            return _equal(columns, condition.column, operator, value)
        case operator:
            text = columns.text(condition.column)
            compared = _read(text, value)
            if text and isinstance(compared, int | float) and not text.numbers:
                raise ToolError(f"{column} is text and cannot be compared with the number {value}")
            return f"{columns.in_order(condition.column)} {operator} ?", [compared]


def _equal(columns: _Columns, name: str, operator: str, value: str | int | float) -> tuple[str, list[Any]]:
    """Texts whatever their case; what is said to be not some text may be empty."""
    column, text = columns.name(name), columns.text(name)
    compared = _read(text, value)
    dated = text is not None and text.dates is not None and isinstance(value, str) and text.dates.read(value)
    if dated or (text is None and compared != value):
        column = columns.in_order(name)  # a date, or a number, said as text
    elif isinstance(value, str):
        column, operator, compared = f"LOWER({column})", f"{operator} LOWER", value
        return f"({column} {operator}(?){f' OR {column} IS NULL' if '!' in operator else ''})", [compared]
    return f"{column} {operator} ?", [compared]


def _read(text: TextColumn | None, value: str | int | float) -> str | int | float:
    """A value in the way that a column is written; numbers and dates may come as text."""
    if not isinstance(value, str):
        return value
    if text is not None:
        return text.value(value)
    found = numbers([value]) or dates([value])
    read = found.read(value) if found else None
    return value if read is None else read


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
