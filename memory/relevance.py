"""How much a stored text has to do with a question: meaning and words, one number that compares across stores.

relevance = ((1 − PART) cos(text) + PART max cos(its sentences) + WORDS · coverage) / (1 + WORDS), about 0 to 1.

`coverage` is the share of the question's words that the text holds, each weighted by its rarity in the store (inverse
document frequency) and by BM25's saturation (Robertson et al., 1995). A plain BM25 score grows with the store, so that
no threshold would fit both five facts and five hundred; a share does not. Weights: benchmarks/memory_weights.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.terms import terms

WORDS = 0.6
"""Weight of the words against the meaning."""
PART = 0.5
"""Share of the best sentence in the meaning; the rest is the whole text's."""
_SATURATION, _LENGTH = 0.9, 0.4
"""BM25's k1 and b, as for documents."""


class Indexed(NamedTuple):
    """What a store keeps of a text to find it again."""

    vectors: NDArray[np.float32]
    """Shape (1 + sentences, dimension); the whole text first. Rows have length 1."""
    terms: list[str]


def relevance(query: str, vector: NDArray[np.float32], texts: Sequence[Indexed]) -> NDArray[np.float32]:
    """One number a text, for a question and its vector of shape (dimension,)."""
    if not texts:
        return np.zeros(0, dtype=np.float32)
    cosines = np.concatenate([one.vectors for one in texts]) @ vector
    starts = np.cumsum([0, *(len(one.vectors) for one in texts[:-1])])
    meaning = (1 - PART) * cosines[starts] + PART * _best_part(cosines, starts)
    return ((meaning + WORDS * _coverage(query, [one.terms for one in texts])) / (1 + WORDS)).astype(np.float32)


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
