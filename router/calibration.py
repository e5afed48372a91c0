"""Scores to probabilities that mean what they say, and thresholds that keep what they promise.

Everything here is fitted on held-out scores. Sources: temperature scaling and expected calibration error, Guo et al.
2017 (arXiv:1706.04599); Platt scaling, Platt 1999; conformal sets, Sadinle, Lei and Wasserman 2019 (arXiv:1609.00451).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax
from scipy.stats import binom

from .features import Matrix

Floats = NDArray[np.floating[Any]]

SURE = 0.9
"""How sure it must be that a promised rate is kept on new tasks."""

USUAL_TEMPERATURE = 0.08
USUAL_WEIGHTS = (7.0, -8.0, 4.0)
USUAL_BIAS = -4.5
"""What larger teams end up with (`model.SIGNALS` in order); few examples are not trusted to say otherwise."""

PRIOR = 5.0
"""The usual values count as much as about so many examples."""


def fit_temperature(scores: Matrix, truth: NDArray[np.intp]) -> float:
    """The divisor of the scores under which the true columns become most likely. scores: (n, columns)."""
    if not len(truth) or scores.shape[1] < 2:
        return USUAL_TEMPERATURE
    usual = np.log(USUAL_TEMPERATURE)

    def loss(log_t: float) -> float:
        likely = log_softmax(scores / np.exp(log_t), axis=1)[np.arange(len(truth)), truth]
        return float(PRIOR * (log_t - usual) ** 2 - likely.sum())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.01), np.log(2.0)), method="bounded").x))  # pyright: ignore[reportAttributeAccessIssue]


def probabilities(scores: Matrix, temperature: float) -> Matrix:
    """Rows that sum to 1."""
    return softmax(scores / temperature, axis=1)


def fit_platt(signals: Matrix, inside: NDArray[np.bool_], outside_share: float) -> tuple[Floats, float]:
    """Weights and bias of P(inside), as if `outside_share` of all tasks came from outside.

    Args:
        signals: (n, 3), see `model.SIGNALS`.
        inside: Which rows are the team's own.
        outside_share: Between 0 and 1; the examples' own mix says nothing about the tasks to come.
    """
    usual = np.array([*USUAL_WEIGHTS, USUAL_BIAS])
    if not inside.any() or inside.all():
        return usual[:-1], float(usual[-1])
    share = np.where(inside, (1 - outside_share) / inside.sum(), outside_share / (~inside).sum())
    sign = np.where(inside, 1.0, -1.0)
    strength = PRIOR / min(inside.sum(), (~inside).sum()) / 100  # the weights are of the order of 10

    def loss(w: Floats) -> tuple[float, Floats]:
        margin = sign * (signals @ w[:-1] + w[-1])
        pull = -share * sign * expit(-margin)
        away = w - usual
        gradient = np.append(signals.T @ pull, pull.sum()) + 2 * strength * away
        return float(share @ np.logaddexp(0, -margin) + strength * away @ away), gradient

    best = minimize(loss, usual, jac=True, method="L-BFGS-B").x
    return best[:-1], float(best[-1])


def refusal_threshold(inside: Floats, rate: float) -> float:
    """The value below which a task is refused, so that at most `rate` of the team's own tasks are.

    With few examples the observed rate may be luck: as many are allowed below as keep the true rate under `rate`
    with probability `SURE`. A rate of 0 refuses nothing.
    """
    if rate <= 0:
        return 0.0
    ordered = np.sort(inside)
    allowed = int(binom.ppf(1 - SURE, len(ordered), rate)) if len(ordered) else 0
    return float(ordered[allowed]) if len(ordered) else 0.0


def conformal_threshold(true_probability: Floats, coverage: float) -> float:
    """The probability that a specialist needs to be in the set, so that the right one is in it with `coverage`."""
    n = len(true_probability)
    rank = int(np.floor((n + 1) * (1 - coverage)))
    return float(np.sort(true_probability)[rank - 1]) if rank >= 1 else 0.0
