"""Texts as weighted counts of words or of pieces of words (TF-IDF; Salton and Buckley, 1988)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Sparse = csr_matrix
"""Shape (number of texts, number of terms); rows have length 1 or 0."""

WORD = re.compile(r"\w+")
SIZES = (2, 3, 4, 5)


def words(text: str) -> list[str]:
    """Words and pairs of neighbouring words, in lower case."""
    found = WORD.findall(text.lower())
    return found + [f"{a} {b}" for a, b in pairwise(found)]


def pieces(text: str) -> list[str]:
    """Runs of 2 to 5 characters within words; a blank marks where a word begins and ends."""
    found: list[str] = []
    for word in text.lower().split():
        padded = f" {word} "
        for size in SIZES:
            found += [padded[i : i + size] for i in range(max(1, len(padded) - size + 1))]
    return found


ANALYSERS: dict[str, Callable[[str], list[str]]] = {"words": words, "pieces": pieces}


class Lexicon:
    """Turns texts into sparse rows over the terms that it was fitted on."""

    def __init__(self, analyser: str, terms: Sequence[str], idf: NDArray[np.float32]) -> None:
        self.analyser, self.terms, self.idf = analyser, list(terms), idf
        self._analyse = ANALYSERS[analyser]
        self._index = {term: i for i, term in enumerate(self.terms)}
        self._weights: list[float] = idf.tolist()

    @classmethod
    def fit(cls, analyser: str, texts: Sequence[str], *, at_least: int = 1) -> Lexicon:
        """Learn the terms that occur in at least so many of the texts, and how rare each is."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(set(ANALYSERS[analyser](text)))
        terms = sorted(term for term, count in counts.items() if count >= at_least)
        idf = [math.log((1 + len(texts)) / (1 + counts[term])) + 1 for term in terms]
        return cls(analyser, terms, np.array(idf, dtype=np.float32))

    def row(self, text: str) -> tuple[list[int], list[float]]:
        """Columns and values of one text; the values' squares sum to 1."""
        counts: dict[int, int] = {}
        for term in self._analyse(text):
            column = self._index.get(term)
            if column is not None:
                counts[column] = counts.get(column, 0) + 1
        columns = list(counts)
        values = [(1 + math.log(count)) * self._weights[column] for column, count in counts.items()]
        length = math.sqrt(sum(value * value for value in values)) or 1.0
        return columns, [value / length for value in values]

    def transform(self, texts: Iterable[str]) -> Sparse:
        """The texts as rows."""
        columns: list[int] = []
        values: list[float] = []
        ends = [0]
        for text in texts:
            found, weights = self.row(text)
            columns += found
            values += weights
            ends.append(len(columns))
        shape = (len(ends) - 1, len(self.terms))
        return csr_matrix((np.array(values, dtype=np.float32), np.array(columns, dtype=np.int32), ends), shape=shape)
