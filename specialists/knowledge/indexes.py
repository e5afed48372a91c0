"""The two halves of an index: nearest neighbours among the vectors of passages, and BM25 over their words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import bm25s
import faiss
import numpy as np
from numpy.typing import NDArray

from ...core.plugins import load
from .store import PassageStore

# Vectors: `faiss`, a server by name, or `module:Class` of any llama-index vector store.


class Index(Protocol):
    """Finds the rows of the passages whose vectors are nearest to a query's."""

    @classmethod
    def build(cls, folder: Path, passages: PassageStore, options: dict[str, Any], before: PassageStore | None) -> None:
        """Index all passages; `before` holds those that are valid until this generation is published."""
        ...

    @classmethod
    def retire(cls, passages: PassageStore, options: dict[str, Any], before: PassageStore) -> None:
        """Called when the generation is published: what only the one before needed may go."""
        ...

    @classmethod
    def open(cls, folder: Path, passages: PassageStore, options: dict[str, Any]) -> Index:
        """Open what `build` left in the folder of a generation."""
        ...

    def only(self, rows: NDArray[np.int64]) -> Index:
        """The same index for somebody who may see no other passages than these."""
        ...

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[int]:
        """Row ids, nearest first."""
        ...


_VECTORS = "vectors.faiss"
_EXACT_UP_TO = 16_000
"""Passages up to which every vector is compared; above, only those in the cells nearest to the query."""
_CELLS_VISITED = 32


class FaissIndex:
    """8-bit vectors in memory, a quarter of their size; an inverted file above some thousand passages.

    The options are not used.
    """

    def __init__(self, index: Any, rows: NDArray[np.int64], among: NDArray[np.int64] | None = None) -> None:
        self._index = index
        self._rows = rows
        self._search = None if among is None or index is None else _searching_among(index, np.isin(rows, among))

    @classmethod
    def build(cls, folder: Path, passages: PassageStore, options: dict[str, Any], before: PassageStore | None) -> None:
        vectors = passages.vectors()
        count, dimension = vectors.shape
        if not count:
            return
        cells = int(2 * count**0.5)
        kind = "SQ8" if count <= _EXACT_UP_TO else f"IVF{cells},SQ8"
        index = faiss.index_factory(dimension, kind, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[np.random.default_rng(0).permutation(count)[: cells * 40]])
        index.add(vectors)
        (folder / _VECTORS).write_bytes(faiss.serialize_index(index).tobytes())

    @classmethod
    def open(cls, folder: Path, passages: PassageStore, options: dict[str, Any]) -> FaissIndex:
        path, rows = folder / _VECTORS, passages.rows()
        index: Any = faiss.deserialize_index(np.fromfile(path, dtype=np.uint8)) if len(rows) else None
        if isinstance(index, faiss.IndexIVF):
            index.nprobe = _CELLS_VISITED
        return cls(index, rows)

    @classmethod
    def retire(cls, passages: PassageStore, options: dict[str, Any], before: PassageStore) -> None:
        pass

    def only(self, rows: NDArray[np.int64]) -> FaissIndex:
        return FaissIndex(self._index, self._rows, rows)

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[int]:
        if self._index is None:
            return []
        _, places = self._index.search(vector[None, :], min(k, len(self._rows)), params=self._search)
        return [int(self._rows[n]) for n in places[0] if n >= 0]


def _searching_among(index: Any, allowed: NDArray[np.bool_]) -> Any:
    """How a search is told that it may only find some vectors. The fewer they are, the more cells are visited."""
    library: Any = faiss  # whose stubs know no keyword of these
    selected = library.IDSelectorBatch(np.flatnonzero(allowed))
    if not isinstance(index, faiss.IndexIVF):
        return library.SearchParameters(sel=selected)
    cells = min(index.nlist, int(_CELLS_VISITED / max(allowed.mean(), 1e-9)))
    return library.SearchParametersIVF(sel=selected, nprobe=cells)


_BACKENDS = {
    "faiss": FaissIndex,
    "qdrant": "metier.specialists.knowledge.qdrant:QdrantIndex",
    "pgvector": "metier.specialists.knowledge.pgvector:PgvectorIndex",
}


def index_type(name: str, folders: Sequence[Path] = ()) -> type[Index]:
    """The index type for `KnowledgeCard.backend`; a module of one's own may also lie in one of `folders`.

    Raises:
        ConfigError: there is no such class.
        MissingExtra: its library is not installed.
    """
    found = load(name, "vector store", _BACKENDS, field="knowledge.backend", folders=folders)
    if name in _BACKENDS:
        return found
    # llama-index takes more than a second to import, which only those who use its stores should wait for
    return import_module(".llama_index", __package__).store_index(found)


# BM25 over the terms of passages.


_WORDS = "bm25"
_SATURATION = 0.9
"""k1: how fast repeating a term stops to matter."""
_LENGTH = 0.4
"""b: how much long passages are held back; they are of similar length here."""


class Lexical:
    """BM25 scores of all passages for a query (Robertson et al., 1995; Lucene's variant, computed by bm25s)."""

    def __init__(self, index: bm25s.BM25 | None) -> None:
        self._index = index

    @staticmethod
    def build(passages: Iterable[list[str]], folder: Path) -> None:
        """Index the terms of passages into `folder`."""
        corpus = list(passages)
        if any(corpus):
            index = bm25s.BM25(k1=_SATURATION, b=_LENGTH)
            index.index(corpus, show_progress=False)
            index.save(folder / _WORDS)

    @classmethod
    def open(cls, folder: Path) -> Lexical:
        """Memory-map what `build` wrote."""
        path = folder / _WORDS
        return cls(bm25s.BM25.load(path, mmap=True) if path.exists() else None)

    def scores(self, query: Sequence[str]) -> NDArray[np.float32] | None:
        """One score a passage; None when no term of the query occurs anywhere."""
        known = [] if self._index is None else [term for term in query if term in self._index.vocab_dict]
        return np.asarray(self._index.get_scores(known), dtype=np.float32) if self._index and known else None
