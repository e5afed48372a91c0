"""A LangGraph store with semantic recall on plain SQL: SQLite without extensions, or PostgreSQL without pgvector.

Vectors are kept as bytes beside the text and compared with numpy; the words of a text count too (see `relevance`). That
is exact, and quick up to some ten thousand texts of one person: a search reads only the namespace it is asked about.

Time to live is in minutes, as everywhere in LangGraph; what has expired is never returned, and deleted at the next
write. Within one batch the reads see what was there before its writes, and of two writes to a key the last counts.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    get_text_at_path,
    validate_op_namespace,
)

from ..core.embedding import Embedder
from ..core.terms import terms
from .matching import Namespace, fits, listed
from .relevance import Indexed, relevance
from .statements import sentences

Execute = Callable[..., list[tuple[Any, ...]]]
"""`execute(sql, parameters=())` gives the rows; parameters stand as `?` in the statement."""


class Database(Protocol):
    """What a store needs of a database. Safe to use from several threads."""

    def transaction(self) -> AbstractContextManager[Execute]:
        """Everything inside happens or nothing does."""
        ...

    def scrub(self) -> None:
        """Take what was deleted out of the files as well."""
        ...

    def close(self) -> None: ...


_COLUMNS = "namespace, key, value, created, updated, minutes, expires, fields, embedder, vectors, terms"
_PUT = (
    f"INSERT INTO facts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace, key) DO UPDATE "
    "SET value = excluded.value, updated = excluded.updated, minutes = excluded.minutes, expires = excluded.expires, "
    "fields = excluded.fields, embedder = excluded.embedder, vectors = excluded.vectors, terms = excluded.terms"
)
_ALIVE = "(expires IS NULL OR expires > ?)"
_BELOW = "(namespace = ? OR (namespace >= ? AND namespace < ?))"


class FactStore(BaseStore):
    """Items by namespace and key in a SQL database.

    Args:
        database: Where they are; see `facts_sqlite` and `facts_postgres`.
        embedder: Text to vectors; None means that searches do not rank.
        fields: Paths of the values that are found by a search; `$` is the whole value.
        ttl: Minutes until an item expires, unless it says otherwise itself; None is never.
        clock: Seconds since 1970.
    """

    supports_ttl = True

    def __init__(
        self,
        database: Database,
        embedder: Embedder | None = None,
        *,
        fields: Sequence[str] = ("text",),
        ttl: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database, self.embedder, self._fields, self._clock = database, embedder, list(fields), clock
        self.ttl_config = TTLConfig(default_ttl=ttl, refresh_on_read=True, omit_expired=True)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Execute operations at once.

        Raises:
            InvalidNamespaceError: a label that LangGraph does not allow.
            StateError: the database cannot be read or written.
        """
        ops = list(ops)
        for op in ops:
            validate_op_namespace(op)
        puts = {(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}
        rows = [self._row(op) for op in puts.values() if op.value is not None]
        gone = [(_path(op.namespace), op.key) for op in puts.values() if op.value is None]
        with self.database.transaction() as execute:
            results = [None if isinstance(op, PutOp) else self._read(execute, op) for op in ops]
            if puts:
                execute("DELETE FROM facts WHERE expires <= ?", (self._clock(),))
            for row in rows:
                execute(_PUT, row)
            for where in gone:
                execute("DELETE FROM facts WHERE namespace = ? AND key = ?", where)
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """`batch` for asynchronous callers; the work runs in a thread."""
        return await asyncio.to_thread(self.batch, list(ops))

    def erase(self, namespace: Namespace = ()) -> int:
        """Delete everything below a namespace, expired or not, and scrub the files; how many items there were.

        Raises:
            StateError: the database cannot be written, or another process keeps the deleted bytes alive.
        """
        where, values = _below(namespace)
        with self.database.transaction() as execute:
            count = execute(f"SELECT count(*) FROM facts WHERE {where}", values)[0][0]
            execute(f"DELETE FROM facts WHERE {where}", values)
        self.database.scrub()
        return count

    def close(self) -> None:
        """Close the database. The store cannot be used afterwards."""
        self.database.close()

    def _read(self, execute: Execute, op: Op) -> Result:
        if isinstance(op, ListNamespacesOp):
            rows = execute(f"SELECT DISTINCT namespace FROM facts WHERE {_ALIVE}", (self._clock(),))
            return listed((tuple(path.split(".")) for (path,) in rows), op)
        if isinstance(op, GetOp):
            where, values = "namespace = ? AND key = ?", (_path(op.namespace), op.key)
            rows = self._select(execute, where, values)
            found: list[Item] = [Item(**_item(row)) for row in rows]
        elif isinstance(op, SearchOp):
            found = [*self._search(execute, op)]
        else:
            raise TypeError(f"unknown operation {type(op).__name__}")
        if op.refresh_ttl and found:
            self._refresh(execute, found)
        return found if isinstance(op, SearchOp) else next(iter(found), None)  # type: ignore[return-value]

    def _search(self, execute: Execute, op: SearchOp) -> list[SearchItem]:
        below = _below(op.namespace_prefix)
        rows = self._select(execute, *below)
        if op.query and self.embedder and self._index_again(execute, rows):
            rows = self._select(execute, *below)
        rows = [row for row in rows if fits(json.loads(row[2]), op.filter)]
        scores: Sequence[float | None] = [None] * len(rows)
        if op.query and self.embedder:
            rows = [row for row in rows if row[9] is not None]
            scores = self._scores(op.query, rows)
            order = np.argsort(-np.asarray(scores), kind="stable")
            rows, scores = [rows[i] for i in order], [float(scores[i]) for i in order]  # type: ignore[arg-type]
        page = slice(op.offset, op.offset + op.limit)
        return [SearchItem(**_item(row), score=score) for row, score in zip(rows[page], scores[page], strict=True)]

    def _index_again(self, execute: Execute, rows: Sequence[tuple[Any, ...]]) -> bool:
        """Index what was written with another embedder or none: vectors of two embedders do not compare."""
        other = [row for row in rows if self.embedder and row[8] != self.embedder.name]
        for namespace, key, value, *_, fields, _, _, _ in other:
            execute(
                "UPDATE facts SET embedder = ?, vectors = ?, terms = ? WHERE namespace = ? AND key = ?",
                (*self._index(json.loads(value), json.loads(fields)), namespace, key),
            )
        return bool(other)

    def _scores(self, query: str, rows: Sequence[tuple[Any, ...]]) -> Sequence[float]:
        assert self.embedder is not None
        width = self.embedder.dimension
        vectors = (np.frombuffer(row[9], dtype=np.float16).reshape(-1, width).astype(np.float32) for row in rows)
        texts = [Indexed(vector, row[10].split()) for vector, row in zip(vectors, rows, strict=True)]
        return [float(score) for score in relevance(query, self.embedder.embed([query])[0], texts)]

    def _select(self, execute: Execute, where: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        order = "ORDER BY updated DESC, namespace, key"
        return execute(f"SELECT {_COLUMNS} FROM facts WHERE {where} AND {_ALIVE} {order}", (*values, self._clock()))

    def _refresh(self, execute: Execute, items: Sequence[Item]) -> None:
        for item in items:
            execute(
                "UPDATE facts SET expires = ? + 60 * minutes WHERE namespace = ? AND key = ? AND minutes IS NOT NULL",
                (self._clock(), _path(item.namespace), item.key),
            )

    def _row(self, op: PutOp) -> tuple[Any, ...]:
        now, value = self._clock(), dict(op.value or {})
        minutes = op.ttl
        expires = None if minutes is None else now + 60 * minutes
        index = self._index(value, op.index)
        fields = json.dumps(op.index)
        return (_path(op.namespace), op.key, json.dumps(value), now, now, minutes, expires, fields, *index)

    def _index(self, value: Mapping[str, Any], fields: bool | Sequence[str] | None) -> tuple[Any, Any, Any]:
        """Name of the embedder, vectors and terms of a value; nothing where it is not to be found by a search."""
        paths = self._fields if fields is None or isinstance(fields, bool) else fields
        texts = [text for path in paths for text in get_text_at_path(value, path) if text.strip()]
        if self.embedder is None or fields is False or not texts:
            return (self.embedder.name if self.embedder else None, None, None)
        whole = "\n".join(texts)
        parts = sentences(whole)
        vectors = self.embedder.embed([whole, *parts] if len(parts) > 1 else [whole])
        return self.embedder.name, vectors.astype(np.float16).tobytes(), " ".join(terms(whole))


def _item(row: tuple[Any, ...]) -> dict[str, Any]:
    namespace, key, value, created, updated = row[:5]
    return {
        "namespace": tuple(namespace.split(".")),
        "key": key,
        "value": json.loads(value),
        "created_at": datetime.fromtimestamp(created, UTC),
        "updated_at": datetime.fromtimestamp(updated, UTC),
    }


def _path(namespace: Namespace) -> str:
    """LangGraph allows no period in a label, so it can stand between them."""
    return ".".join(namespace)


def _below(namespace: Namespace) -> tuple[str, tuple[str, ...]]:
    """The condition for a namespace and all below it: a range of the index, with `/` the sign after the period."""
    path = _path(namespace)
    return (_BELOW, (path, f"{path}.", f"{path}/")) if namespace else ("1 = 1", ())
