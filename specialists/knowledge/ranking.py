"""How lexical and dense evidence become one order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

WORDS = 1.0
"""Weight of the words against the vectors (benchmarks/retrieval_weights.py; `Knowledge.tune` may change it)."""
HALF = 8.0
"""BM25 score that counts half: beyond it, more shared words say little more (same source)."""

Signals = Mapping[str, NDArray[np.float32]]
"""Evidence by name, each of shape (candidates,): `dense` (cosine), `tuned` (the same after tuning), `bm25`."""


def rank(signals: Signals, words: float = WORDS) -> NDArray[np.float32]:
    """One score a candidate, higher is better."""
    dense, bm25 = signals.get("tuned", signals["dense"]), signals["bm25"]
    return (dense + words * bm25 / (bm25 + HALF)).astype(np.float32)
