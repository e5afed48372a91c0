"""Nearest neighbours among the passage vectors, in memory with FAISS. Others: see `stores`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from .shelf import Shelf

_FILE = "vectors.faiss"
_EXACT_UP_TO = 16_000
"""Passages up to which every vector is compared; above, only those in the cells nearest to the query."""
_CELLS_VISITED = 32


class FaissIndex:
    """8-bit vectors in memory, a quarter of their size; an inverted file above some thousand passages.

    The options are not used.
    """

    def __init__(self, index: Any, rows: NDArray[np.int64]) -> None:
        self._index = index
        self._rows = rows

    @classmethod
    def build(cls, folder: Path, shelf: Shelf, options: dict[str, Any], before: Shelf | None) -> None:
        vectors = shelf.vectors()
        count, dimension = vectors.shape
        if not count:
            return
        cells = int(2 * count**0.5)
        kind = "SQ8" if count <= _EXACT_UP_TO else f"IVF{cells},SQ8"
        index = faiss.index_factory(dimension, kind, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[np.random.default_rng(0).permutation(count)[: cells * 40]])
        index.add(vectors)
        (folder / _FILE).write_bytes(faiss.serialize_index(index).tobytes())

    @classmethod
    def open(cls, folder: Path, shelf: Shelf, options: dict[str, Any]) -> FaissIndex:
        path, rows = folder / _FILE, shelf.rows()
        index: Any = faiss.deserialize_index(np.fromfile(path, dtype=np.uint8)) if len(rows) else None
        if isinstance(index, faiss.IndexIVF):
            index.nprobe = _CELLS_VISITED
        return cls(index, rows)

    @classmethod
    def retire(cls, shelf: Shelf, options: dict[str, Any], before: Shelf) -> None:
        pass

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[int]:
        if self._index is None:
            return []
        _, found = self._index.search(vector[None, :], min(k, len(self._rows)))
        return [int(self._rows[n]) for n in found[0] if n >= 0]
