"""How lexical and dense evidence become one order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

WORDS = 0.3
"""Weight of the words against the vectors (chosen by cross-validation: benchmarks/retrieval.py)."""
HALF = 5.0
"""BM25 score that counts half: beyond it, more shared words say little more."""


def rank(signals: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """One score a candidate, higher is better. Every signal has shape (candidates,)."""
    dense, bm25 = signals.get("tuned", signals["dense"]), signals["bm25"]
    return (dense + WORDS * bm25 / (bm25 + HALF)).astype(np.float32)
