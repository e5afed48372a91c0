"""Facts in PostgreSQL (extra `postgres`): a table of its own, vectors as bytes, no extension of the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..core.errors import MissingExtra, StateError
from .store import Execute

_TABLE = """
CREATE TABLE IF NOT EXISTS facts (
    namespace TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL, value TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL, updated DOUBLE PRECISION NOT NULL, minutes DOUBLE PRECISION,
    expires DOUBLE PRECISION, fields TEXT NOT NULL, embedder TEXT, vectors BYTEA, terms TEXT,
    PRIMARY KEY (namespace, key)
)
"""
_TURN = 0x6D657469
"""Number of the lock under which the table is made: two first users at once would collide."""


class PostgresFacts:
    """A connection for each transaction: a server that was restarted in between is not noticed.

    Raises:
        MissingExtra: psycopg is not installed.
        StateError: the server cannot be reached.
    """

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("psycopg", "postgres") from None
        self._psycopg, self._url = psycopg, url
        with self.transaction() as execute:
            execute("SELECT pg_advisory_xact_lock(?)", (_TURN,))
            execute(_TABLE)

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """See `Database`. Raises StateError when the server cannot be reached or refuses."""
        try:
            with self._psycopg.connect(self._url, connect_timeout=5) as connection:

                def execute(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
                    cursor = connection.execute(sql.replace("?", "%s").encode(), values or None)
                    return cursor.fetchall() if cursor.description else []

                yield execute
        except self._psycopg.Error as error:
            raise StateError(f"PostgreSQL: {str(error).strip()}") from error

    def scrub(self) -> None:
        """Write the table anew without dead rows. The server's own log and its backups are its keeper's to clear."""
        try:
            with self._psycopg.connect(self._url, connect_timeout=5, autocommit=True) as connection:
                connection.execute("VACUUM FULL facts")
        except self._psycopg.Error as error:
            raise StateError(f"PostgreSQL: {str(error).strip()}") from error

    def close(self) -> None:
        """Nothing is kept open."""
