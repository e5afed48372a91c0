"""The fitted part of a router: from texts and their vectors to probabilities. Values only; it never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ..core.embedding import Vectors
from .calibration import Floats, probabilities
from .features import Features, Matrix, Mix, Rows
from .shortcut import Shortcut

SIGNALS = ("top", "none", "near")
"""What tells the team's tasks from others: the best specialist's score, the score of 'none of these', and the mean
cosine with the nearest of the team's examples."""

NEAR = 3
"""So many nearest examples count for `near`."""

BLOCK = 1000
"""So many examples at once are compared with all others."""


class Judged(NamedTuple):
    """What the model thinks of q texts."""

    scores: Matrix
    """(q, specialists + 1): the last column is 'none of these'."""
    signals: Matrix
    """(q, len(SIGNALS))."""
    inside: Floats
    """(q,): probability that somebody on the team should answer."""
    given_inside: Floats
    """(q, specialists): whose it is, if it is the team's; rows sum to 1."""


@dataclass(frozen=True)
class Calibration:
    """What was fitted on held-out scores."""

    temperature: float
    weights: Floats
    bias: float
    threshold: float
    """Below this probability of being inside a task is refused."""
    in_set: float
    """A specialist with at least this probability is in the conformal set."""
    part: float = 1.0
    """A task is split when each part is somebody's with at least this probability."""

    def judge(self, scores: Matrix, cosine: Matrix) -> Judged:
        """scores: (q, specialists + 1); cosine with the team's own examples: (q, own)."""
        found = signals(scores, cosine)
        return Judged(scores, found, self.inside(found), probabilities(scores[:, :-1], self.temperature))

    def inside(self, found: Matrix) -> Floats:
        """Probability that somebody on the team should answer. found: (q, len(SIGNALS))."""
        return expit(found @ self.weights + self.bias)


@dataclass(frozen=True)
class Model:
    """Everything that a decision needs."""

    names: tuple[str, ...]
    mix: Mix
    features: Features
    rows: Rows
    """The examples: the team's own first, then those from outside."""
    labels: NDArray[np.intp]
    """(examples,): column of `names`; len(names) for examples from outside."""
    coefficients: Matrix
    """(examples, specialists + 1)."""
    prior: Matrix
    held_out: Matrix
    """(examples, specialists + 1): what each example would have scored, had it been left out."""
    calibration: Calibration
    shortcut: Shortcut

    @property
    def own(self) -> int:
        """How many of the examples are the team's."""
        return int(np.searchsorted(self.labels == len(self.names), True))

    @cached_property
    def _lexical(self) -> tuple[Matrix, Matrix]:
        """(terms, specialists + 1): what each word and each piece adds to the scores."""
        words = np.float32(self.mix.words) * (self.rows.words.T @ self.coefficients)
        pieces = np.float32(self.mix.pieces) * (self.rows.pieces.T @ self.coefficients)
        return words, pieces

    def judge(self, texts: Sequence[str], vectors: Vectors) -> Judged:
        """Texts (normalised) with their vectors, q of them."""
        cosine = vectors @ self.rows.vectors.T
        kernel = np.exp(np.float32(self.mix.gamma) * (cosine - np.float32(1)))
        scores = kernel @ self.coefficients + self.prior
        for lexicon, weights in zip((self.features.words, self.features.pieces), self._lexical, strict=True):
            for row, text in enumerate(texts):
                columns, values = lexicon.row(text)
                scores[row] += np.array(values, dtype=np.float32) @ weights[columns]
        return self.calibration.judge(scores, cosine[:, : self.own])

    def judge_held_out(self) -> Judged:
        """What the model would think of each example, had it not learnt it."""
        own = self.rows.vectors[: self.own]
        found = []
        for start in range(0, len(self.labels), BLOCK):
            cosine = self.rows.vectors[start : start + BLOCK] @ own.T
            itself = np.arange(start, min(start + BLOCK, self.own))
            cosine[itself - start, itself] = -1  # an example is not its own neighbour
            found.append(self.calibration.judge(self.held_out[start : start + BLOCK], cosine))
        return Judged(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def signals(scores: Matrix, cosine: Matrix) -> Matrix:
    """See `SIGNALS`. scores: (q, specialists + 1); cosine with the team's own examples: (q, own)."""
    count = min(NEAR, cosine.shape[1])
    nearest = np.partition(cosine, -count, axis=1)[:, -count:].mean(axis=1)
    return np.column_stack([scores[:, :-1].max(axis=1), scores[:, -1], nearest]).astype(np.float32)
