"""Is this text one query that only reads? Decided on the parsed tree (sqlglot), not on words in the text."""

from __future__ import annotations

import re
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ..core.errors import ToolDenied, ToolError

Dialect = Literal["sqlite", "postgres"]

_FORBIDDEN = (
    exp.Insert,
    exp.Update,
    exp.Delete,
    exp.Merge,
    exp.Create,
    exp.Command,
    exp.Into,
    exp.Lock,
    exp.Pragma,
    exp.Attach,
    exp.Detach,
    exp.Set,
    exp.Transaction,
    exp.Commit,
    exp.Rollback,
    exp.Alter,
    exp.Drop,
    exp.TruncateTable,
    exp.Copy,
    exp.Use,
    exp.Kill,
)
_EXTRA_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
        total julianday unixepoch strftime printf glob likelihood likely unlikely typeof quote hex unhex instr unicode
        char date time datetime ltrim rtrim random changes nullif iif ifnull sign ln log2 mod pi power sqrt exp ceil
        floor to_char to_date to_number to_timestamp date_part age make_date regexp_matches regexp_count btrim initcap
        string_to_array array_length array_to_string json_array_length json_extract json_each json_group_array
        percent_rank cume_dist similarity width_bucket split_part strpos translate left right
        """,
    )
)
"""Functions beyond those that sqlglot knows by type; whatever is not listed (pg_read_file, dblink, …) is refused."""


def check_select(query: str, dialect: Dialect = "sqlite") -> exp.Query:
    """The parsed query, when it is exactly one statement that only reads.

    Raises:
        ToolError: it cannot be parsed.
        ToolDenied: it is more than one statement, or does anything but read.
    """
    try:
        statements = [s for s in sqlglot.parse(query, read=dialect) if s is not None]
    except (SqlglotError, RecursionError) as error:
        raise ToolError(f"not valid SQL: {str(error).splitlines()[0][:200]}") from None
    if len(statements) != 1:
        raise ToolDenied(f"{len(statements)} statements, exactly one SELECT is allowed")
    statement = statements[0]
    if not isinstance(statement, exp.Query):
        raise ToolDenied(f"{statement.key.upper()} is not allowed, only SELECT")
    for node in statement.walk():
        if isinstance(node, _FORBIDDEN):
            raise ToolDenied(f"{node.key.upper()} inside the query is not allowed, only SELECT")
        if isinstance(node, exp.Anonymous) and node.name.lower() not in _EXTRA_FUNCTIONS:
            raise ToolDenied(f"the function {node.name}() is not allowed")
    return statement
