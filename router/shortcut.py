"""Texts whose words alone are certain: answered in microseconds, without the encoder.

Naive Bayes over words and word pairs (Maron, 1961). Leaving an example out only means subtracting its own counts, so
the margin above which it may decide is fitted on held-out scores of every example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import binom

from .calibration import SURE, Floats
from .features import Matrix
from .lexicon import WORD, words

WRONG = 0.002
"""How often it may be wrong where it decides; outside tasks count as wrong."""

NEVER = float("inf")


class Shortcut(NamedTuple):
    """What words say about the specialists."""

    terms: dict[str, int]
    """Words and word pairs that occur in two or more of the examples."""
    weights: Matrix
    """(terms, specialists + 1): log of how likely each term is; the last column is 'none of these'."""
    bias: Matrix
    margin: float
    """It decides where the best column leads the second by so much."""

    def decide(self, text: str) -> int | None:
        """The column of the specialist, where the words are certain and none is unknown."""
        if self.margin == NEVER or any(word not in self.terms for word in WORD.findall(text.lower())):
            return None
        scores = self._scores(text)
        best = int(scores.argmax())
        if best == len(scores) - 1:
            return None
        lead = float(scores[best] - np.delete(scores, best).max())
        return best if lead >= self.margin else None

    def agree(self, texts: Sequence[str]) -> bool:
        """Whether words, where they can be trusted at all, send all texts the same way."""
        return self.margin != NEVER and len({int(self._scores(text).argmax()) for text in texts}) == 1

    def _scores(self, text: str) -> Matrix:
        found = [self.terms[term] for term in set(words(text)) if term in self.terms]
        return self.weights[found].sum(axis=0) + self.bias


def fit_shortcut(texts: Sequence[str], labels: np.ndarray, columns: int) -> Shortcut:
    """Learn from all examples.

    Args:
        labels: (texts,): column of each text; `columns - 1` for texts from outside.
        columns: Specialists and one more.
    """
    documents = [sorted(set(words(text))) for text in texts]
    counts: dict[str, int] = {}
    for document in documents:
        for term in document:
            counts[term] = counts.get(term, 0) + 1
    terms = {term: i for i, term in enumerate(sorted(t for t, c in counts.items() if c > 1))}
    rows = [(row, terms[t]) for row, document in enumerate(documents) for t in document if t in terms]
    where, which = np.array(rows, dtype=np.intp).reshape(-1, 2).T
    present = csr_matrix((np.ones(len(where), dtype=np.float32), (where, which)), shape=(len(texts), len(terms)))
    targets = np.eye(columns, dtype=np.float32)[labels]
    sizes, seen = targets.sum(axis=0), np.asarray(present.T @ targets)
    share = seen.sum(axis=1, keepdims=True) / max(1, len(texts))
    weights = np.log((seen + share) / (sizes + 1)).astype(np.float32)
    bias = np.log(np.maximum(sizes, 0.5)).astype(np.float32)

    held_out = present @ weights + bias
    own = labels[where]
    without = np.maximum(seen[which, own] - 1, 0)
    rest = np.maximum(seen[which].sum(axis=1) - 1, 0) / max(1, len(texts))
    log_seen = np.log((without + rest) / sizes[own])
    held_out[np.arange(len(texts)), labels] = np.bincount(where, log_seen, len(texts)) + np.log(
        np.maximum(sizes[labels] - 1, 0.5)
    )
    # Without the example itself, a word must still occur twice to be known.
    unknown = np.array([any(counts[word] < 3 for word in WORD.findall(text.lower())) for text in texts], dtype=bool)
    return Shortcut(terms, weights, bias, _margin(held_out, labels, unknown))


def _margin(held_out: Floats, labels: np.ndarray, unknown: np.ndarray) -> float:
    """The least lead at which no more than `WRONG` of what is decided is wrong, surely (see `SURE`)."""
    best = held_out.argmax(axis=1)
    ordered = np.sort(held_out, axis=1)
    lead = ordered[:, -1] - ordered[:, -2]
    usable = np.flatnonzero(~unknown & (best < held_out.shape[1] - 1))
    order = usable[np.argsort(-lead[usable], kind="stable")]
    wrong = np.cumsum(best[order] != labels[order])
    allowed = binom.ppf(1 - SURE, np.arange(1, len(order) + 1), WRONG) - 1
    kept = np.flatnonzero(wrong <= allowed)
    return float(lead[order[kept[-1]]]) if len(kept) else NEVER
