"""Texts as weighted words and pieces of words: what embeddings miss, such as `not`, names and numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from zlib import crc32

import numpy as np
from scipy import sparse

BUCKETS = 2**15
"""Columns of phrases, and of pieces. Terms find theirs by a hash, so that none has to be stored."""

PIECES = range(3, 6)
"""Letters in a piece of a word."""

_WORD = re.compile(r"\w+")


class Words:
    """Phrases and pieces of words by how rare they are (TF-IDF with logarithmic counts).

    Args:
        weights: (2 BUCKETS,) inverse document frequencies.
    """

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """With the frequencies of the texts."""
        seen = Counter(column for text in texts for half in _terms(text) for column in half)
        counts = np.zeros(2 * BUCKETS, dtype=np.float32)
        counts[[*seen]] = [*seen.values()]
        return cls(np.log((1 + len(texts)) / (1 + counts)) + 1)

    def rows(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """(texts, 2 BUCKETS), rows of length 1, phrases and pieces the half each; zeros for a text without words."""
        data, columns, ends = list[float](), list[int](), [0]
        for text in texts:
            for half in _terms(text):
                values = [(1 + math.log(count)) * self.weights[column] for column, count in half.items()]
                length = math.sqrt(2 * sum(value * value for value in values)) or 1.0
                data += [value / length for value in values]
                columns += half
            ends.append(len(columns))
        return sparse.csr_matrix((np.array(data, dtype=np.float32), columns, ends), shape=(len(texts), 2 * BUCKETS))


def _terms(text: str) -> tuple[Counter[int], Counter[int]]:
    """How often there is something in each column of phrases, and of pieces."""
    words = _WORD.findall(text.lower())
    phrases = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
    pieces = [piece for word in words for piece in _pieces(f" {word} ")]
    return Counter(map(_column, phrases)), Counter(BUCKETS + _column(piece) for piece in pieces)


def _pieces(word: str) -> Iterator[str]:
    for size in PIECES:
        yield from (word[at : at + size] for at in range(len(word) - size + 1))


def _column(term: str) -> int:
    return crc32(term.encode()) % BUCKETS
