"""The fitted part of a router: from texts and their vectors to probabilities. Values only; it never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from ..core.embedding import Vectors
from .calibration import Floats, probabilities
from .features import Alike, Features, Matrix, Mix, Rows, alike

SIGNALS = ("top", "none", "near")
"""What tells the team's tasks from others: the best specialist's score, the score of 'none of these', and the mean
cosine with the nearest of the team's examples."""

NEAR = 3
"""So many nearest examples count for `near`."""


class Judged(NamedTuple):
    """What the model thinks of q texts."""

    scores: Matrix
    """(q, specialists + 1): the last column is 'none of these'."""
    signals: Matrix
    """(q, len(SIGNALS))."""
    inside: Floats
    """(q,): probability that somebody on the team should answer."""
    given_inside: Matrix
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


@dataclass(frozen=True)
class Model:
    """Everything that a decision needs."""

    names: tuple[str, ...]
    mix: Mix
    features: Features
    rows: Rows
    """The examples: the team's own first, then those from outside."""
    labels: np.ndarray
    """(examples,): column of `names`; len(names) for examples from outside."""
    coefficients: Matrix
    """(examples, specialists + 1)."""
    prior: Matrix
    calibration: Calibration

    def judge(self, texts: Sequence[str], vectors: Vectors) -> Judged:
        """Texts (normalised) with their vectors, q of them."""
        return self.judge_alike(alike(self.features.rows(texts, vectors), self.rows))

    def judge_alike(self, similar: Alike) -> Judged:
        scores = similar.mixed(self.mix) @ self.coefficients + self.prior
        own = int((self.labels < len(self.names)).sum())
        return judged(scores, signals(scores, similar.cosine[:, :own]), self.calibration)


def signals(scores: Matrix, cosine: Matrix) -> Matrix:
    """See `SIGNALS`. scores: (q, specialists + 1); cosine with the team's own examples: (q, own)."""
    count = min(NEAR, cosine.shape[1])
    nearest = np.partition(cosine, -count, axis=1)[:, -count:].mean(axis=1)
    return np.column_stack([scores[:, :-1].max(axis=1), scores[:, -1], nearest]).astype(np.float32)


def judged(scores: Matrix, found: Matrix, calibration: Calibration) -> Judged:
    inside = expit(found @ calibration.weights + calibration.bias)
    return Judged(scores, found, inside, probabilities(scores[:, :-1], calibration.temperature))
