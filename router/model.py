"""The fitted part of a router: from texts and their vectors to probabilities that mean what they say.

Values only; a model never changes. From top to bottom: calibration, the shortcut of words, the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy  # its optimize is loaded when a router is fitted, and not to ask one
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import bdtr, bdtrik, expit, log_softmax, softmax

from ..core.embedding import Vectors
from ..core.kernel_ridge import Matrix
from ..core.text import plain_words
from .features import FeatureRows, Features, Mix, lexicon_words

Floats = NDArray[np.floating[Any]]
CONFIDENCE_LEVEL = 0.9
"""How sure it must be that a rate which was asked for is kept on new tasks."""
_USUAL_TEMPERATURE = 0.08
_USUAL_WEIGHTS = (7.0, -8.0, 4.0)
_USUAL_BIAS = -4.5
"""What larger teams end up with (`SIGNALS` in order); few examples are not trusted to say otherwise."""
_PRIOR = 5.0
"""The usual values count as much as about so many examples."""
SHORTCUT_ERROR = 0.002
"""How often words alone may be wrong where they decide; outside tasks count as wrong."""
NEVER = float("inf")
"""The margin of a shortcut that decides nothing."""
SIGNALS = ("top", "none", "near")
"""What tells the team's tasks from others: the best specialist's score, the score of 'none of these', and the mean
cosine with the nearest of the team's examples."""
_NEAR = 3
"""So many nearest examples count for `near`."""
_BLOCK = 1000
"""So many examples at once are compared with all others."""


def fit_temperature(scores: Matrix, truth: NDArray[np.intp]) -> float:
    """The divisor of the scores under which the true columns become most likely. scores: (n, columns)."""
    if not len(truth) or scores.shape[1] < 2:
        return _USUAL_TEMPERATURE
    usual = np.log(_USUAL_TEMPERATURE)

    def loss(log_t: float) -> float:
        likely = log_softmax(scores / np.exp(log_t), axis=1)[np.arange(len(truth)), truth]
        return float(_PRIOR * (log_t - usual) ** 2 - likely.sum())

    best = scipy.optimize.minimize_scalar(loss, bounds=(np.log(0.01), np.log(2.0)), method="bounded")
    return float(np.exp(best.x))


def probabilities(scores: Matrix, temperature: float) -> Matrix:
    """Rows that sum to 1."""
    return softmax(scores / temperature, axis=1)


def fit_platt(signals: Matrix, inside: NDArray[np.bool_], outside_share: float) -> tuple[Floats, float]:
    """Weights and bias of P(inside), as if `outside_share` of all tasks came from outside.

    Args:
        signals: (n, 3), see `SIGNALS`.
        inside: Which rows are the team's own.
        outside_share: Between 0 and 1; the examples' own mix says nothing about the tasks to come.
    """
    usual = np.array([*_USUAL_WEIGHTS, _USUAL_BIAS])
    if not inside.any() or inside.all():
        return usual[:-1], float(usual[-1])
    share = np.where(inside, (1 - outside_share) / inside.sum(), outside_share / (~inside).sum())
    sign = np.where(inside, 1.0, -1.0)
    strength = _PRIOR / min(inside.sum(), (~inside).sum()) / 100  # the weights are of the order of 10

    def loss(w: Floats) -> tuple[float, Floats]:
        margin = sign * (signals @ w[:-1] + w[-1])
        pull = -share * sign * expit(-margin)
        away = w - usual
        gradient = np.append(signals.T @ pull, pull.sum()) + 2 * strength * away
        return float(share @ np.logaddexp(0, -margin) + strength * away @ away), gradient

    best = scipy.optimize.minimize(loss, usual, jac=True, method="L-BFGS-B").x
    return best[:-1], float(best[-1])


def refusal_threshold(inside: Floats, rate: float) -> float:
    """The value below which a task is refused, so that at most `rate` of the team's own tasks are.

    With few examples the observed rate may be luck: as many are allowed below as keep the true rate under `rate`
    with probability `CONFIDENCE_LEVEL`. A rate of 0 refuses nothing.
    """
    if rate <= 0:
        return 0.0
    ordered = np.sort(inside)
    return float(ordered[int(_allowed(len(ordered), rate))]) if len(ordered) else 0.0


def _allowed(n: int | NDArray[np.intp], rate: float) -> Floats:
    """The quantile of the binomial distribution of `n` draws at `1 - CONFIDENCE_LEVEL`.

    `scipy.stats.binom.ppf` says the same, but takes longer to import than all else that a question needs of scipy.
    """
    quantile = 1 - CONFIDENCE_LEVEL
    above = np.ceil(bdtrik(quantile, n, rate))
    below = np.maximum(above - 1, 0)
    return np.where(bdtr(below, n, rate) >= quantile, below, above)


def conformal_threshold(true_probability: Floats, coverage: float) -> float:
    """The probability that a specialist needs to be in the set, so that the right one is in it with `coverage`."""
    n = len(true_probability)
    rank = int(np.floor((n + 1) * (1 - coverage)))
    return float(np.sort(true_probability)[rank - 1]) if rank >= 1 else 0.0


class Shortcut(NamedTuple):
    """What words alone say about the specialists: where they are certain, a text needs no encoder."""

    terms: dict[str, int]
    """Words and word pairs that occur in two or more of the examples."""
    weights: Matrix
    """(terms, specialists + 1): log of how likely each term is; the last column is 'none of these'."""
    bias: Matrix
    margin: float
    """It decides where the best column leads the second by so much."""

    def decide(self, text: str) -> int | None:
        """The column of the specialist, where the words are certain and none is unknown."""
        if self.margin == NEVER or any(word not in self.terms for word in plain_words(text)):
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
        rows = [self.terms[term] for term in set(lexicon_words(text)) if term in self.terms]
        return self.weights[rows].sum(axis=0) + self.bias


def fit_shortcut(texts: Sequence[str], labels: np.ndarray, columns: int) -> Shortcut:
    """Learn from all examples.

    Args:
        labels: (texts,): column of each text; `columns - 1` for texts from outside.
        columns: Specialists and one more.
    """
    documents = [sorted(set(lexicon_words(text))) for text in texts]
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
    unknown = np.array([any(counts[word] < 3 for word in plain_words(text)) for text in texts], dtype=bool)
    return Shortcut(terms, weights, bias, _margin(held_out, labels, unknown))


def _margin(held_out: Floats, labels: np.ndarray, unknown: np.ndarray) -> float:
    """The least lead at which no more than `SHORTCUT_ERROR` of what is decided is wrong, at the `CONFIDENCE_LEVEL`."""
    best = held_out.argmax(axis=1)
    ordered = np.sort(held_out, axis=1)
    lead = ordered[:, -1] - ordered[:, -2]
    usable = np.flatnonzero(~unknown & (best < held_out.shape[1] - 1))
    order = usable[np.argsort(-lead[usable], kind="stable")]
    wrong = np.cumsum(best[order] != labels[order])
    allowed = _allowed(np.arange(1, len(order) + 1), SHORTCUT_ERROR) - 1
    kept = np.flatnonzero(wrong <= allowed)
    return float(lead[order[kept[-1]]]) if len(kept) else NEVER


class Predictions(NamedTuple):
    """What the model predicts for q texts."""

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
    lenient: float = 0.0
    """The threshold for texts in other languages, of which an English embedder sees little; at most `threshold`."""
    part: float = 1.0
    """A task is split when each part is somebody's with at least this probability."""

    def predict(self, scores: Matrix, cosine: Matrix) -> Predictions:
        """scores: (q, specialists + 1); cosine with the team's own examples: (q, own)."""
        seen = signals(scores, cosine)
        return Predictions(scores, seen, self.inside(seen), probabilities(scores[:, :-1], self.temperature))

    def inside(self, seen: Matrix) -> Floats:
        """Probability that somebody on the team should answer. seen: (q, len(SIGNALS))."""
        return expit(seen @ self.weights + self.bias)


@dataclass(frozen=True)
class Model:
    """Everything that a decision needs."""

    names: tuple[str, ...]
    mix: Mix
    features: Features
    rows: FeatureRows
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

    def predict(self, texts: Sequence[str], vectors: Vectors) -> Predictions:
        """Texts (normalised) with their vectors, q of them."""
        cosine = vectors @ self.rows.vectors.T
        kernel = np.exp(np.float32(self.mix.gamma) * (cosine - np.float32(1)))
        scores = kernel @ self.coefficients + self.prior
        for lexicon, weights in zip((self.features.words, self.features.pieces), self._lexical, strict=True):
            for row, text in enumerate(texts):
                columns, values = lexicon.row(text)
                scores[row] += np.array(values, dtype=np.float32) @ weights[columns]
        return self.calibration.predict(scores, cosine[:, : self.own])

    def predict_held_out(self) -> Predictions:
        """What the model would predict for each example, had it not learnt it."""
        own = self.rows.vectors[: self.own]
        blocks = []
        for start in range(0, len(self.labels), _BLOCK):
            cosine = self.rows.vectors[start : start + _BLOCK] @ own.T
            itself = np.arange(start, min(start + _BLOCK, self.own))
            cosine[itself - start, itself] = -1  # an example is not its own neighbour
            blocks.append(self.calibration.predict(self.held_out[start : start + _BLOCK], cosine))
        return Predictions(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def signals(scores: Matrix, cosine: Matrix) -> Matrix:
    """See `SIGNALS`. scores: (q, specialists + 1); cosine with the team's own examples: (q, own)."""
    count = min(_NEAR, cosine.shape[1])
    nearest = np.partition(cosine, -count, axis=1)[:, -count:].mean(axis=1)
    return np.column_stack([scores[:, :-1].max(axis=1), scores[:, -1], nearest]).astype(np.float32)
