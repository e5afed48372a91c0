"""Texts as weighted words: what embeddings miss, such as `not`, names and numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import sparse

_WORD = re.compile(r"\w+")


class Words:
    """Words and pairs of words by how rare they are (TF-IDF with logarithmic counts, rows of length 1).

    Args:
        terms: Term to column.
        weights: (terms,) inverse document frequencies.
    """

    def __init__(self, terms: dict[str, int], weights: np.ndarray) -> None:
        self.terms, self.weights = terms, weights

    @classmethod
    def of(cls, texts: Sequence[str], least: int = 2) -> Words:
        """The terms of at least `least` texts."""
        seen = Counter(term for text in texts for term in set(_terms(text)))
        kept = sorted(term for term, count in seen.items() if count >= min(least, len(texts)))
        weights = [math.log((1 + len(texts)) / (1 + seen[term])) + 1 for term in kept]
        return cls({term: number for number, term in enumerate(kept)}, np.array(weights, dtype=np.float32))

    def rows(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """(texts, terms), each row of length 1; a text without known terms is a row of zeros."""
        data, columns, ends = list[float](), list[int](), [0]
        for text in texts:
            found = Counter(self.terms[term] for term in _terms(text) if term in self.terms)
            values = {column: (1 + math.log(n)) * self.weights[column] for column, n in found.items()}
            length = math.sqrt(sum(v * v for v in values.values())) or 1.0
            data += [v / length for v in values.values()]
            columns += values
            ends.append(len(columns))
        shape = (len(texts), len(self.terms))
        return sparse.csr_matrix((np.array(data, dtype=np.float32), columns, ends), shape=shape)


def _terms(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return [*words, *(f"{a} {b}" for a, b in pairwise(words))]
