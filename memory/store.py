"""A fact, and the table that keeps facts: in SQLite without extensions, or PostgreSQL without pgvector (`postgres.py`).

Vectors are kept as bytes beside the text and compared with numpy. That is exact, and quick up to some ten thousand
facts of one person: a search reads only the facts of the owner it is about. How much a fact has to do with a question
is one number that compares across owners:

relevance = ((1 − S) cos(fact) + S max cos(its sentences) + W · coverage) / (1 + W), about 0 to 1,
with S = SENTENCE_SHARE and W = WORD_WEIGHT.

`coverage` is the share of the question's words that the fact holds, each weighted by its rarity among the owner's
facts (inverse document frequency) and by BM25's saturation (Robertson et al., 1995). A plain BM25 score grows with the
table, so that no threshold would fit both five facts and five hundred; a share does not. Weights:
benchmarks/memory_weights.py.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from ..core.database import Execute, SqliteState, StateDatabase
from ..core.embedding import Embedder
from ..core.text import sentences, terms
from ..core.types import Value
from .fact_rules import How

WORD_WEIGHT = 0.6
"""Weight of the words against the meaning."""
SENTENCE_SHARE = 0.5
"""Share of the best sentence in the meaning; the rest is the whole fact's."""
_SATURATION, _LENGTH = 0.9, 0.4
"""BM25's k1 and b, as for documents."""
_DAY = 24 * 60 * 60


class Fact(Value):
    """What is remembered."""

    id: str
    text: str
    about: str = ""
    """Attributes that it gives the values of, such as `name`; empty for most."""
    how: How
    when: str
    """ISO 8601, UTC: when it was said last."""
    user: str | None = None
    """None: it holds for everybody on the team."""
    specialist: str | None = None
    """None: for every specialist."""
    thread_id: str = ""
    turn: str = ""
    """The user's whole turn in which it was said."""


class RecalledFact(NamedTuple):
    """A fact that matters for a question."""

    fact: Fact
    relevance: float
    """About 0 to 1."""


class Owner(NamedTuple):
    """Whose facts."""

    user: str | None
    """None: everybody's."""
    tenant: str | None = None

    @property
    def prefix(self) -> str:
        """How the namespaces of all the owner's facts begin, and nobody else's."""
        return f"facts.{_label(self.tenant)}.{_label(self.user)}."

    def namespace(self, specialist: str | None = None) -> str:
        """Where the owner's facts for a specialist (None: for every one) are in the table."""
        return self.prefix + _label(specialist)

    @classmethod
    def of(cls, namespace: str) -> tuple[Owner, str | None]:
        """The owner and specialist of a namespace."""
        _, tenant, user, specialist = namespace.split(".")
        return cls(_name(user), _name(tenant)), _name(specialist)


def _label(name: str | None) -> str:
    """Labels are not empty and hold no period; `_` alone stands for nobody in particular."""
    if name is None:
        return "_"
    label = quote(name, safe="@ ", errors="replace").replace(".", "%2E")
    return {"": "%", "_": "%5F"}.get(label, label)


def _name(label: str) -> str | None:
    return None if label == "_" else "" if label == "%" else unquote(label)


class _Row(NamedTuple):
    namespace: str
    key: str
    value: str
    embedder: str | None
    vectors: bytes | None
    terms: str | None

    def fact(self) -> Fact:
        owner, specialist = Owner.of(self.namespace)
        return Fact(id=self.key, user=owner.user, specialist=specialist, **json.loads(self.value))


_PUT = """
INSERT INTO facts (namespace, key, value, created, updated, minutes, expires, fields, embedder, vectors, terms)
VALUES (?, ?, ?, ?, ?, ?, ?, 'null', ?, ?, ?) ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value,
updated = excluded.updated, minutes = excluded.minutes, expires = excluded.expires, fields = excluded.fields,
embedder = excluded.embedder, vectors = excluded.vectors, terms = excluded.terms
"""
_ALIVE = "(expires IS NULL OR expires > ?)"
_SELECT = (
    f"SELECT {', '.join(_Row._fields)} FROM facts WHERE namespace >= ? AND namespace < ? AND {_ALIVE} "
    "ORDER BY updated DESC, namespace, key"
)


class FactStore:
    """The table of facts.

    Args:
        database: Where it is; see `SqliteFacts` and `postgres.PostgresFacts`.
        embedder: Text to vectors; None means that searches find nothing.
        days: Until a fact expires after it was written last; None is never. What has expired is never read, and deleted
            at the next write.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        database: StateDatabase,
        embedder: Embedder | None = None,
        *,
        days: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database, self.embedder, self._days, self._clock = database, embedder, days, clock

    def write(self, owner: Owner, put: Iterable[Fact] = (), delete: Iterable[Fact] = ()) -> None:
        """Put facts of an owner in (or anew), and delete others, all at once.

        Raises:
            StateError: the database cannot be written.
        """
        rows = [self._written(owner, fact) for fact in put]
        with self.database.transaction() as execute:
            execute("DELETE FROM facts WHERE expires <= ?", (self._clock(),))
            for row in rows:
                execute(_PUT, row)
            for fact in delete:
                where = (owner.namespace(fact.specialist), fact.id)
                execute("DELETE FROM facts WHERE namespace = ? AND key = ?", where)

    def of(self, owner: Owner) -> list[Fact]:
        """All facts of an owner, the one that was written last first."""
        with self.database.transaction() as execute:
            return [row.fact() for row in self._rows(execute, owner)]

    def search(self, query: str, owner: Owner, limit: int) -> list[RecalledFact]:
        """An owner's facts that have most to do with a question, the most relevant first."""
        if self.embedder is None:
            return []
        with self.database.transaction() as execute:
            rows = self._rows(execute, owner)
            if self._index_again(execute, rows, self.embedder.name):
                rows = self._rows(execute, owner)
        scores = relevance(query, self.embedder.embed([query])[0], [self._indexed(row) for row in rows])
        order = np.argsort(-scores, kind="stable")[:limit]
        return [RecalledFact(rows[place].fact(), float(scores[place])) for place in order]

    def owners(self) -> list[Owner]:
        """Everybody who has facts."""
        with self.database.transaction() as execute:
            # The table could once hold a caller's own items too; theirs do not begin so.
            ours = "namespace >= 'facts.' AND namespace < 'facts/'"
            statement = f"SELECT DISTINCT namespace FROM facts WHERE {ours} AND {_ALIVE} ORDER BY namespace"
            rows = execute(statement, (self._clock(),))
        return list(dict.fromkeys(Owner.of(namespace)[0] for (namespace,) in rows))

    def erase(self, owner: Owner | None = None) -> int:
        """Delete an owner's facts (None: everybody's), expired or not, and scrub the files; how many there were.

        Raises:
            StateError: the database cannot be written, or another process keeps the deleted bytes alive.
        """
        where, values = ("namespace >= ? AND namespace < ?", _range(owner)) if owner else ("1 = 1", ())
        with self.database.transaction() as execute:
            count = execute(f"SELECT count(*) FROM facts WHERE {where}", values)[0][0]
            execute(f"DELETE FROM facts WHERE {where}", values)
        self.database.scrub()
        return count

    def close(self) -> None:
        """Close the database. The store cannot be used afterwards."""
        self.database.close()

    def _rows(self, execute: Execute, owner: Owner) -> list[_Row]:
        return [_Row(*row) for row in execute(_SELECT, (*_range(owner), self._clock()))]

    def _written(self, owner: Owner, fact: Fact) -> tuple[Any, ...]:
        now, minutes = self._clock(), None if self._days is None else self._days * 24 * 60
        expires = None if self._days is None else now + self._days * _DAY
        value = json.dumps(fact.model_dump(exclude={"id", "user", "specialist"}))
        place = (owner.namespace(fact.specialist), fact.id)
        return (*place, value, now, now, minutes, expires, *self._index(fact))

    def _index(self, fact: Fact) -> tuple[str | None, bytes | None, str | None]:
        """Name of the embedder, vectors and terms."""
        if self.embedder is None:
            return None, None, None
        whole = "\n".join(text for text in (fact.about, fact.text) if text.strip())
        parts = sentences(whole)
        vectors = self.embedder.embed([whole, *parts] if len(parts) > 1 else [whole])
        return self.embedder.name, vectors.astype(np.float16).tobytes(), " ".join(terms(whole))

    def _index_again(self, execute: Execute, rows: Sequence[_Row], name: str) -> bool:
        """Index what was written with another embedder or none: vectors of two embedders do not compare."""
        other = [row for row in rows if row.embedder != name or row.vectors is None]
        for row in other:
            execute(
                "UPDATE facts SET embedder = ?, vectors = ?, terms = ? WHERE namespace = ? AND key = ?",
                (*self._index(row.fact()), row.namespace, row.key),
            )
        return bool(other)

    def _indexed(self, row: _Row) -> IndexedText:
        assert self.embedder is not None
        vectors = np.frombuffer(row.vectors or b"", dtype=np.float16).reshape(-1, self.embedder.dimension)
        return IndexedText(vectors.astype(np.float32), (row.terms or "").split())


def _range(owner: Owner) -> tuple[str, str]:
    """The namespaces of an owner's facts, from and below: `/` is the sign after the period."""
    return owner.prefix, f"{owner.prefix[:-1]}/"


class IndexedText(NamedTuple):
    """What is kept of a text to find it again."""

    vectors: NDArray[np.float32]
    """Shape (1 + sentences, dimension); the whole text first. Rows have length 1."""
    terms: list[str]


def relevance(query: str, vector: NDArray[np.float32], texts: Sequence[IndexedText]) -> NDArray[np.float32]:
    """One number a text, for a question and its vector of shape (dimension,)."""
    if not texts:
        return np.zeros(0, dtype=np.float32)
    cosines = np.concatenate([text.vectors for text in texts]) @ vector
    starts = np.cumsum([0, *(len(text.vectors) for text in texts[:-1])])
    meaning = (1 - SENTENCE_SHARE) * cosines[starts] + SENTENCE_SHARE * _best_part(cosines, starts)
    words = _coverage(query, [text.terms for text in texts])
    return ((meaning + WORD_WEIGHT * words) / (1 + WORD_WEIGHT)).astype(np.float32)


def _best_part(cosines: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """The best sentence of each text; a text of one sentence is its own."""
    parts = cosines.copy()
    counts = np.diff([*starts, len(cosines)])
    parts[starts[counts > 1]] = -1.0
    return np.maximum.reduceat(parts, starts)


def _coverage(query: str, texts: Sequence[list[str]]) -> NDArray[np.float64]:
    asked = set(terms(query))
    counts = [Counter(term for term in text if term in asked) for text in texts]
    held = Counter(term for count in counts for term in count)
    rarity = {term: math.log(1 + (len(texts) - held[term] + 0.5) / (held[term] + 0.5)) for term in asked}
    total, mean = sum(rarity.values()), max(1.0, sum(map(len, texts)) / len(texts))
    scores = np.zeros(len(texts))
    for row, (count, text) in enumerate(zip(counts, texts, strict=True)):
        norm = _SATURATION * (1 - _LENGTH + _LENGTH * len(text) / mean)
        scores[row] = sum(rarity[term] * n * (1 + _SATURATION) / (n + norm) for term, n in count.items())
    return np.minimum(scores / total, 1.0) if total else scores


_TABLE = """
CREATE TABLE IF NOT EXISTS facts (
    namespace TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL,
    minutes REAL, expires REAL, fields TEXT NOT NULL, embedder TEXT, vectors BLOB, terms TEXT,
    PRIMARY KEY (namespace, key)
)
"""


class SqliteFacts(SqliteState):
    """Facts in one SQLite file.

    Raises:
        StateError: the file is not a database.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _TABLE)
