"""Nearest neighbours among the passage vectors: FAISS by default, any llama-index vector store by dotted path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from ...core.embedding import Vectors

_FILE = "vectors.faiss"
_EXACT_UP_TO = 16_000
"""Passages up to which every vector is compared; above, only those in the cells nearest to the query."""
_CELLS_VISITED = 32


class Index(Protocol):
    """Finds the rows of the passages whose vectors are nearest."""

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[int]: ...


class FaissIndex:
    """8-bit vectors in memory, a quarter of their size; inverted file above some thousand passages."""

    def __init__(self, index: Any, rows: NDArray[np.int64]) -> None:
        self._index = index
        self._rows = rows

    @staticmethod
    def build(vectors: Vectors, folder: Path) -> None:
        """Write the index. `vectors` has shape (passages, dimension)."""
        count, dimension = vectors.shape
        if not count:
            return
        cells = int(4 * count**0.5)
        kind = "SQ8" if count <= _EXACT_UP_TO else f"IVF{cells},SQ8"
        index = faiss.index_factory(dimension, kind, faiss.METRIC_INNER_PRODUCT)
        sample = np.random.default_rng(0).permutation(count)[: max(cells * 40, 1000)]
        index.train(vectors if count <= _EXACT_UP_TO else vectors[sample])
        index.add(vectors)
        faiss.write_index(index, str(folder / _FILE))

    @classmethod
    def open(cls, folder: Path, rows: NDArray[np.int64]) -> FaissIndex:
        """Read what `build` wrote."""
        index: Any = faiss.read_index(str(folder / _FILE)) if len(rows) else None
        if isinstance(index, faiss.IndexIVF):
            index.nprobe = _CELLS_VISITED
        return cls(index, rows)

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[int]:
        """Row ids, nearest first."""
        if self._index is None:
            return []
        _, found = self._index.search(vector[None, :], min(k, len(self._rows)))
        return [int(self._rows[n]) for n in found[0] if n >= 0]
