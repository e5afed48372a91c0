"""What a specialist sees of a database; whoever makes a team gives one that can only be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Table(Protocol):
    """Rows that came back."""

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def rows(self) -> Sequence[Sequence[Any]]: ...

    @property
    def complete(self) -> bool:
        """False: there are more rows than were asked for."""
        ...


class Database(Protocol):
    """Answers one SELECT at a time. Whatever else it is asked, it refuses with a `MetierError`."""

    @property
    def dialect(self) -> str:
        """The name that sqlglot knows it by: `sqlite` or `postgres`."""
        ...

    def schema(self) -> Mapping[str, Mapping[str, str]]:
        """Table → column → declared type."""
        ...

    def query(self, sql: str, parameters: Sequence[Any] = (), rows: int = 1000) -> Table:
        """At most `rows` rows.

        Raises:
            MetierError: it refuses the query, rejects it, or takes too long.
        """
        ...
