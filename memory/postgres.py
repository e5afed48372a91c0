"""Threads in PostgreSQL (extra `postgres`). A server that is restarted is waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from ..core.errors import StateError
from .saver import ThreadSaver

PATIENCE = 30.0
"""Seconds for which an unreachable server is asked again."""
_GONE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
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

Method = TypeVar("Method", bound=Callable[..., Any])


def patient(method: Method) -> Method:
    """The method, tried again while the server is away. Every write here may be done twice: it changes nothing then.

    Raises:
        StateError: the server stayed away.
    """

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        again = Retrying(
            retry=retry_if_exception_type(_GONE),
            stop=stop_after_delay(PATIENCE),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            reraise=True,
        )
        try:
            return again(method, *args, **kwargs)
        except _GONE as error:
            raise StateError(f"threads cannot be reached: {error}", hint="is PostgreSQL running?") from error

    return cast(Method, call)


class PostgresThreads(ThreadSaver, PostgresSaver):
    """LangGraph's PostgreSQL checkpointer, with what it leaves out: patience, copy, delete by run, async callers.

    Raises:
        StateError: the server cannot be reached.
    """

    def __init__(self, url: str) -> None:
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

    setup = patient(PostgresSaver.setup)
    get_tuple = patient(PostgresSaver.get_tuple)
    put = patient(PostgresSaver.put)
    put_writes = patient(PostgresSaver.put_writes)
    delete_thread = patient(PostgresSaver.delete_thread)

    @patient
    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Forget all but the last checkpoint of each thread, or the whole threads."""
        PostgresSaver.prune(self, thread_ids, strategy=strategy)

    def list(self, config: RunnableConfig | None, **more: Any) -> Iterator[CheckpointTuple]:
        """Checkpoints, the newest first."""
        return iter(self._list(config, **more))

    @patient
    def _list(self, config: RunnableConfig | None, **more: Any) -> Sequence[CheckpointTuple]:
        return [*PostgresSaver.list(self, config, **more)]

    @patient
    def thread_ids(self) -> list[str]:
        """All threads."""
        with self._cursor() as cursor:
            return [row["thread_id"] for row in cursor.execute("SELECT DISTINCT thread_id FROM checkpoints")]

    @patient
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

    @patient
    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Forget the checkpoints of some runs."""
        writes, checkpoints, blobs = _DELETE_FOR_RUNS
        with self._cursor() as cursor, cursor.connection.transaction():
            cursor.execute(writes.encode(), ([*run_ids],))
            found = cursor.execute(checkpoints.encode(), ([*run_ids],)).fetchall()
            cursor.execute(blobs.encode(), ([*{row["thread_id"] for row in found}],))

    @patient
    def scrub(self) -> None:
        """Write the tables anew without dead rows; see `ThreadSaver`."""
        with self._cursor() as cursor:
            for table in _TABLES:
                cursor.execute(f"VACUUM FULL {table}".encode())

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()
