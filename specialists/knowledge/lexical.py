"""BM25 over the terms of passages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray

_FOLDER = "bm25"
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
            index.save(folder / _FOLDER)

    @classmethod
    def open(cls, folder: Path) -> Lexical:
        """Memory-map what `build` wrote."""
        path = folder / _FOLDER
        return cls(bm25s.BM25.load(path, mmap=True) if path.exists() else None)

    def scores(self, query: Sequence[str]) -> NDArray[np.float32] | None:
        """One score a passage; None when no term of the query occurs anywhere."""
        known = [] if self._index is None else [term for term in query if term in self._index.vocab_dict]
        return np.asarray(self._index.get_scores(known), dtype=np.float32) if self._index and known else None
