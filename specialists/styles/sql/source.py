"""A database with what is known of it: what the style `sql` works with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from ....core.errors import ToolError
from ....core.types import Citation
from ....tools.database import Database, QueryResult, show_value
from .prompt import Solved
from .repair import distinct, objections, repair
from .schema import Catalogue
from .short import expand, shorten_sql

SHOWN_ROWS = 20
"""Rows that an answer holds at most."""


class SqlSource:
    """Where questions to one database are answered.

    Args:
        source: The database's name, for citations.
        database: Answers one SELECT at a time and can do nothing else.
        examples: Questions with the SQL that answers them.
    """

    def __init__(self, source: str, database: Database, examples: Iterable[tuple[str, str]] = ()) -> None:
        self.source, self.database = source, database
        self._examples = tuple(examples)

    @cached_property
    def catalogue(self) -> Catalogue:
        """Read when the first question comes."""
        return Catalogue.of(self.database)

    @cached_property
    def solved(self) -> Sequence[Solved]:
        """The examples, in the short form that the model writes."""
        examples = ((task, shorten_sql(sql, self.catalogue, self.database)) for task, sql in self._examples)
        return [Solved(task, short) for task, short in examples if short]

    def run(self, task: str, short: str) -> tuple[str, QueryResult, int]:
        """The SQL that a short query stands for once it is mended, the rows that it gives, and what speaks against it.

        Raises:
            MetierError: it is no SQL, names what is not there, does more than read, or takes too long.
        """
        repaired = repair(short, task, self.catalogue)
        try:
            query = expand(repaired, self.catalogue)
        except ToolError:
            # What was moved to another table may stand where nothing joins it.
            repaired, query = short, expand(short, self.catalogue)
        result = self.database.query(query, rows=SHOWN_ROWS)
        repeated = len(result.rows) > 1 and all(row == result.rows[0] for row in result.rows)
        if repeated and (once := distinct(query, self.catalogue.dialect)):
            single = self.database.query(once, rows=SHOWN_ROWS)
            query, result = (once, single) if len(single.rows) == 1 else (query, result)
        return query, result, objections(repaired, task, self.catalogue)

    def cite(self, query: str, result: QueryResult) -> Citation:
        """The rows as a quote from the database; the query that gives them is its context."""
        rows = [" | ".join(map(show_value, row)) for row in result.rows]
        quote = "\n".join([" | ".join(result.columns), *rows])
        return Citation(source=self.source, quote=quote, start=0, end=len(quote), context=query)
