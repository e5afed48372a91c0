"""Where conversations are saved: what metier needs beyond LangGraph's checkpointer, and the one on a SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, cast
from weakref import WeakValueDictionary
from zlib import crc32

from filelock import FileLock, Timeout
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver

from ..core.errors import StateError
from ..core.files import writable
from ..core.sqlite import open_sqlite, scrub

_CHECKPOINT = "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
_WRITE = "thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value"
_ORPHANS = """
DELETE FROM writes WHERE thread_id = ? AND NOT EXISTS (
    SELECT 1 FROM checkpoints c WHERE c.thread_id = writes.thread_id AND c.checkpoint_ns = writes.checkpoint_ns
    AND c.checkpoint_id = writes.checkpoint_id)
"""
_OLD = """
DELETE FROM checkpoints WHERE thread_id = ? AND (checkpoint_ns, checkpoint_id) NOT IN (
    SELECT checkpoint_ns, max(checkpoint_id) FROM checkpoints WHERE thread_id = ? GROUP BY checkpoint_ns)
"""
_TURN_FILES = 1024
"""Files at which processes wait for each other."""
_FORGET_SECONDS = 0.5
"""How long what was deleted may stay in the write-ahead file: emptying it holds up all others, so that it is done once
for all that was deleted in that time."""


def _in_thread(method: str) -> Any:
    """The asynchronous form of a method: the synchronous one in a thread, so that nothing is written twice."""

    async def call(self: ThreadSaver, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(getattr(self, method), *args, **kwargs)

    return call


class ThreadSaver(BaseCheckpointSaver[str]):
    """A LangGraph checkpointer that can do all that one can: prune, copy, delete by run; asynchronous callers too."""

    @abstractmethod
    def thread_ids(self) -> list[str]:
        """All threads."""

    @abstractmethod
    def copy_thread(self, source_thread_id: str, target_thread_id: str, upto: str | None = None) -> None:
        """Copy a thread under another name.

        Args:
            source_thread_id: What to copy.
            target_thread_id: A thread that does not exist.
            upto: The last checkpoint to copy, without what was begun after it; None copies everything.
        """

    @abstractmethod
    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep only the last checkpoint of each thread (`keep_latest`), or nothing (`delete`)."""

    @abstractmethod
    def turn(self, thread_id: str, seconds: float) -> AbstractContextManager[None]:
        """A turn on a thread, while no other has one: neither in this process nor in another.

        Args:
            thread_id: The thread.
            seconds: How long to wait for the turn before.

        Raises:
            StateError: the turn before is still going on.
        """

    @abstractmethod
    def scrub(self) -> None:
        """Take what was deleted out of the files as well.

        Raises:
            StateError: somebody else uses them.
        """

    @abstractmethod
    def close(self) -> None:
        """Close files and connections."""

    aget_tuple = _in_thread("get_tuple")
    aput = _in_thread("put")
    aput_writes = _in_thread("put_writes")
    adelete_thread = _in_thread("delete_thread")
    adelete_for_runs = _in_thread("delete_for_runs")
    acopy_thread = _in_thread("copy_thread")
    aprune = _in_thread("prune")

    async def alist(self, config: RunnableConfig | None, **more: Any) -> AsyncIterator[CheckpointTuple]:
        """`list` in a thread."""
        for saved in await asyncio.to_thread(lambda: list(self.list(config, **more))):
            yield saved


class SqliteThreads(ThreadSaver, SqliteSaver):
    """LangGraph's SQLite checkpointer, with what it leaves out: prune, copy, delete by run, asynchronous callers.

    Raises:
        StateError: the file is not a database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turns = WeakValueDictionary[str, threading.Lock]()
        self._emptied, self._emptying = -_FORGET_SECONDS, cast("threading.Timer | None", None)
        connection = None
        try:
            connection = open_sqlite(path)
            SqliteSaver.__init__(self, connection)
            self.setup()
        except sqlite3.DatabaseError as error:
            if connection:
                connection.close()
            raise StateError(f"{path}: {error}", hint="move that file away; a new one is made") from error

    @contextmanager
    def turn(self, thread_id: str, seconds: float) -> Iterator[None]:
        """See `ThreadSaver`. Processes wait for each other at a file; a few threads share each of those."""
        own = self._turns.setdefault(thread_id, threading.Lock())
        deadline = monotonic() + seconds
        if not own.acquire(timeout=seconds):
            raise busy(thread_id, seconds)
        try:
            if not writable(self._path.parent):
                yield
                return
            name = f"{crc32(thread_id.encode(errors='replace')) % _TURN_FILES:03x}.lock"
            folder = self._path.parent / "turns"
            folder.mkdir(exist_ok=True)
            lock = FileLock(folder / name, thread_local=False)
            try:
                lock.acquire(timeout=max(0.0, deadline - monotonic()))
            except Timeout:
                raise busy(thread_id, seconds) from None
            try:
                yield
            finally:
                lock.release()
        finally:
            own.release()

    def thread_ids(self) -> list[str]:
        """All threads."""
        with self.cursor(transaction=False) as cursor:
            return [row[0] for row in cursor.execute("SELECT DISTINCT thread_id FROM checkpoints")]

    def copy_thread(self, source_thread_id: str, target_thread_id: str, upto: str | None = None) -> None:
        """Copy a thread; see `ThreadSaver`. Identifiers of checkpoints grow with time."""
        taken = "thread_id = ?" if upto is None else "thread_id = ? AND checkpoint_id {} ?"
        values = (target_thread_id, source_thread_id) if upto is None else (target_thread_id, source_thread_id, upto)
        with self.cursor() as cursor:
            for table, columns, before in (("checkpoints", _CHECKPOINT, "<="), ("writes", _WRITE, "<")):
                chosen = columns.replace("thread_id", "?", 1)
                where = taken.format(before)
                cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {chosen} FROM {table} WHERE {where}", values)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Forget all but the last checkpoint of each thread, or the whole threads."""
        for thread in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread)
                continue
            with self.cursor() as cursor:
                cursor.execute(_OLD, (thread, thread))
                cursor.execute("UPDATE checkpoints SET parent_checkpoint_id = NULL WHERE thread_id = ?", (thread,))
                cursor.execute(_ORPHANS, (thread,))
        self._forget_for_good()

    def delete_thread(self, thread_id: str) -> None:
        """Forget a thread."""
        super().delete_thread(thread_id)
        self._forget_for_good()

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Forget the checkpoints of some runs."""
        runs = f"json_extract(CAST(metadata AS TEXT), '$.run_id') IN ({', '.join('?' * len(run_ids))})"
        with self.cursor() as cursor:
            threads = cursor.execute(f"SELECT DISTINCT thread_id FROM checkpoints WHERE {runs}", run_ids).fetchall()
            cursor.execute(f"DELETE FROM checkpoints WHERE {runs}", run_ids)
            for thread in threads:
                cursor.execute(_ORPHANS, thread)
        self._forget_for_good()

    def scrub(self) -> None:
        """Write the file anew; see `ThreadSaver`."""
        with self.lock:
            self.conn.commit()
            scrub(self.conn, self._path)

    def close(self) -> None:
        """Close the file; the last one to do so takes the write-ahead file away."""
        with self.lock:
            if self._emptying:
                self._emptying.cancel()
            self.conn.close()

    def _forget_for_good(self) -> None:
        """What was deleted leaves the write-ahead file too: now, or soon with what else is deleted meanwhile."""
        with self.lock:
            wait = self._emptied + _FORGET_SECONDS - monotonic()
            if wait <= 0:
                self._empty_log()
            elif self._emptying is None:
                self._emptying = threading.Timer(wait, self._empty_later)
                self._emptying.daemon = True
                self._emptying.start()

    def _empty_later(self) -> None:
        with self.lock:
            if self._emptying and not self._emptying.finished.is_set():
                self._empty_log()

    def _empty_log(self) -> None:
        self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._emptied, self._emptying = monotonic(), None


def busy(thread_id: str, seconds: float) -> StateError:
    """The error of a turn for which another is in the way."""
    return StateError(
        f"thread '{thread_id}' is at work on another task; it was waited for {seconds:.0f} s",
        hint="ask again when that is answered, or in another thread",
    )
