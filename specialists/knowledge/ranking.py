"""How lexical and dense evidence become one order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

WORDS = 1.0
"""Weight of the words against the vectors (benchmarks/retrieval_weights.py)."""
HALF = 8.0
"""BM25 score that counts half: beyond it, more shared words say little more (same source)."""

Signals = Mapping[str, NDArray[np.float32]]
"""Evidence by name, each of shape (candidates,): `dense` (cosine), `bm25`."""


def rank(signals: Signals) -> NDArray[np.float32]:
    """One score a candidate, higher is better."""
    bm25 = signals["bm25"]
    return (signals["dense"] + WORDS * bm25 / (bm25 + HALF)).astype(np.float32)
