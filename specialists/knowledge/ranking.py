"""How lexical and dense evidence become one order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def rank(signals: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """One score a candidate, higher is better. Every signal has shape (candidates,)."""
    dense, bm25 = signals["dense"], signals["bm25"]
    return (0.5 * dense + 0.5 * bm25 / max(float(bm25.max()), 1e-6)).astype(np.float32)
