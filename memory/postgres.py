"""Threads, and all else that a team keeps, in PostgreSQL (extra `postgres`).

Threads keep connections, and wait for a server that is restarted. Facts, requests and effects have a table each;
vectors are bytes there: no extension of the server is needed.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial, wraps
from time import monotonic
from typing import Any, TypeVar, cast

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from ..core.database import Execute
from ..core.errors import StateError
from .threads import ThreadSaver, busy

_PATIENCE = 30.0
"""Seconds for which an unreachable server is asked again."""
_GONE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
_NOTICE_THE_DEAD = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""A machine that loses its power says no goodbye: the server lets go of its locks after 25 s, within a turn's wait."""
_TABLES = {
    "checkpoints": "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata",
    "checkpoint_writes": "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob",
    "checkpoint_blobs": "checkpoint_ns, channel, version, type, blob",
}
_RUNS = "metadata ->> 'run_id' = ANY(%s)"
_DELETE_FOR_RUNS = (
    f"""DELETE FROM checkpoint_writes w USING checkpoints c WHERE c.{_RUNS} AND c.thread_id = w.thread_id
    AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id""",
    f"DELETE FROM checkpoints WHERE {_RUNS} RETURNING thread_id",
    """DELETE FROM checkpoint_blobs b WHERE thread_id = ANY(%s) AND NOT EXISTS (
    SELECT 1 FROM checkpoints c WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
    AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version)""",
)

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _patient(method: _Method) -> _Method:
    """The method, tried again while the server is away. Every write here may be done twice: it changes nothing then.

    Raises:
        StateError: the server stayed away.
    """

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        again = Retrying(
            retry=retry_if_exception_type(_GONE),
            stop=stop_after_delay(_PATIENCE),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            reraise=True,
        )
        try:
            return again(method, *args, **kwargs)
        except _GONE as error:
            raise StateError(f"threads cannot be reached: {error}", hint="is PostgreSQL running?") from error

    return cast(_Method, call)


class PostgresThreads(ThreadSaver, PostgresSaver):
    """LangGraph's PostgreSQL checkpointer, with what it leaves out: patience, copy, delete by run, async callers.

    Raises:
        StateError: the server cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        self._pool = ConnectionPool[psycopg.Connection[DictRow]](
            url, kwargs=options, min_size=1, max_size=4, timeout=5, open=True
        )
        PostgresSaver.__init__(self, self._pool)
        try:
            self.setup()
        except BaseException:
            self._pool.close()
            raise

    setup = _patient(PostgresSaver.setup)
    get_tuple = _patient(PostgresSaver.get_tuple)
    put = _patient(PostgresSaver.put)
    put_writes = _patient(PostgresSaver.put_writes)
    delete_thread = _patient(PostgresSaver.delete_thread)

    @_patient
    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Forget all but the last checkpoint of each thread, or the whole threads."""
        PostgresSaver.prune(self, thread_ids, strategy=strategy)

    @contextmanager
    def turn(self, thread_id: str, seconds: float) -> Iterator[None]:
        """See `ThreadSaver`. The lock is the server's, on a connection of its own: it ends with the process. Whoever
        asked first has it first."""
        with closing(self._locked(thread_id, monotonic() + seconds, seconds)):
            yield

    def _locked(self, thread_id: str, deadline: float, seconds: float) -> psycopg.Connection[Any]:
        """A connection that has the lock."""
        while True:
            connection = self._connection_for_locks()
            try:
                left = max(1, round((deadline - monotonic()) * 1000))
                connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{left}ms",))
                connection.execute("SELECT pg_advisory_lock(%s)", (_lock_number(thread_id),))
                return connection
            except psycopg.errors.LockNotAvailable:
                connection.close()
                raise busy(thread_id, seconds) from None
            except _GONE:  # the server was restarted
                connection.close()
                if monotonic() > deadline:
                    raise busy(thread_id, seconds) from None

    @_patient
    def _connection_for_locks(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
        connection.execute(_NOTICE_THE_DEAD)
        return connection

    def list(self, config: RunnableConfig | None, **more: Any) -> Iterator[CheckpointTuple]:
        """Checkpoints, the newest first."""
        return iter(self._list(config, **more))

    @_patient
    def _list(self, config: RunnableConfig | None, **more: Any) -> Sequence[CheckpointTuple]:
        return [*PostgresSaver.list(self, config, **more)]

    @_patient
    def thread_ids(self) -> list[str]:
        """All threads."""
        with self._cursor() as cursor:
            return [row["thread_id"] for row in cursor.execute("SELECT DISTINCT thread_id FROM checkpoints")]

    @_patient
    def copy_thread(self, source_thread_id: str, target_thread_id: str, upto: str | None = None) -> None:
        """Copy a thread; see `ThreadSaver`. Identifiers of checkpoints grow with time."""
        before = {"checkpoints": "<=", "checkpoint_writes": "<"} if upto else {}
        with self._cursor() as cursor, cursor.connection.transaction():
            for table, columns in _TABLES.items():
                more = f" AND checkpoint_id {before[table]} %s" if table in before else ""
                cursor.execute(
                    f"INSERT INTO {table} (thread_id, {columns}) SELECT %s, {columns} FROM {table} "
                    f"WHERE thread_id = %s{more} ON CONFLICT DO NOTHING".encode(),
                    (target_thread_id, source_thread_id, *([upto] if more else [])),
                )

    @_patient
    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Forget the checkpoints of some runs."""
        writes, checkpoints, blobs = _DELETE_FOR_RUNS
        with self._cursor() as cursor, cursor.connection.transaction():
            cursor.execute(writes.encode(), ([*run_ids],))
            deleted = cursor.execute(checkpoints.encode(), ([*run_ids],)).fetchall()
            cursor.execute(blobs.encode(), ([*{row["thread_id"] for row in deleted}],))

    @_patient
    def scrub(self) -> None:
        """Write the tables anew without dead rows; see `ThreadSaver`."""
        with self._cursor() as cursor:
            for table in _TABLES:
                cursor.execute(f"VACUUM FULL {table}".encode())

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


def _lock_number(thread_id: str) -> int:
    digest = hashlib.sha256(thread_id.encode(errors="replace")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


_FACTS = """
CREATE TABLE IF NOT EXISTS facts (
    namespace TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL, value TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL, updated DOUBLE PRECISION NOT NULL, minutes DOUBLE PRECISION,
    expires DOUBLE PRECISION, fields TEXT NOT NULL, embedder TEXT, vectors BYTEA, terms TEXT,
    PRIMARY KEY (namespace, key)
)
"""
_FIRST_USER = 0x6D657469
"""Number of the lock under which the table is made: two first users at once would collide."""


class PostgresState:
    """Tables of metier's own in a PostgreSQL database, over one connection that is made anew when it breaks.

    Args:
        url: The address of the database; each team has one of its own, or a schema of its own in one.
        schema: Statements that make the tables if need be.
        tables: Their names.
        patience: Seconds for which an unreachable server is asked again.

    Raises:
        StateError: the server cannot be reached.
    """

    clock = "extract(epoch from clock_timestamp())"

    def __init__(self, url: str, schema: Sequence[str], tables: Sequence[str], *, patience: float = 0.0) -> None:
        self._url, self._tables, self._lock = url, tables, threading.RLock()
        self._kept: psycopg.Connection[Any] | None = None
        self._again = Retrying(
            retry=retry_if_exception_type(_GONE),
            stop=stop_after_delay(patience),
            wait=wait_random_exponential(multiplier=0.05, max=1),
            reraise=True,
        )
        with self.transaction() as execute:
            execute("SELECT pg_advisory_xact_lock(?)", (_FIRST_USER,))
            for statement in schema:
                execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """See `core.database.StateDatabase`."""
        with self._lock, _told():
            connection = self._again.copy()(self._connection)
            with connection.transaction():
                yield partial(_execute, connection)

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `core.database.StateDatabase`."""

        def once() -> list[tuple[Any, ...]]:
            try:
                return _execute(self._kept or self._connection(), sql, values)
            except _GONE:
                self._kept = None
                raise

        with self._lock, _told():
            return self._again.copy()(once)

    def empty_log(self) -> None:
        """The server's log is its keeper's."""

    def scrub(self) -> None:
        """Write the tables anew without dead rows. The server's own log and its backups are its keeper's to clear."""
        for table in self._tables:
            self.run(f"VACUUM FULL {table}")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._kept:
                self._kept.close()

    def _connection(self) -> psycopg.Connection[Any]:
        """The connection, which answers."""
        try:
            if self._kept and not self._kept.closed:
                self._kept.execute("SELECT 1")
                return self._kept
        except _GONE:
            pass
        self._kept = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
        return self._kept


def _execute(connection: psycopg.Connection[Any], sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    cursor = connection.execute(sql.replace("?", "%s").encode(), values or None)
    return cursor.fetchall() if cursor.description else []


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise StateError(f"PostgreSQL: {str(error).strip()}") from error


class PostgresFacts(PostgresState):
    """The table of facts.

    Raises:
        StateError: the server cannot be reached.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, [_FACTS], ["facts"])
