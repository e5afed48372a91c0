"""From examples to a fitted model: choose the kernel, solve, calibrate on held-out scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import expit

from ..core.embedding import Vectors
from .calibration import (
    conformal_threshold,
    fit_platt,
    fit_temperature,
    probabilities,
    refusal_threshold,
)
from .example import Example
from .features import Alike, Features, Matrix, Mix, alike
from .head import fit_head
from .model import Calibration, Model, signals

TRIED_ON = 1200
"""The kernel is chosen on at most so many examples."""

GRID = tuple(
    Mix(gamma, words, pieces, ridge)
    for gamma, (words, pieces), ridge in product(
        (1.0, 2.0, 4.0), ((0.0, 0.0), (0.1, 0.3), (0.3, 0.3), (0.5, 0.5), (2.0, 0.0)), (0.05, 0.2, 0.5)
    )
)


@dataclass(frozen=True)
class Promise:
    """What the thresholds keep."""

    false_refusal: float = 0.04
    coverage: float = 0.95
    outside_share: float = 0.1
    """How many of the tasks to come are nobody's, for the probabilities; the thresholds do not depend on it."""


def learn(
    examples: Sequence[Example], vectors: Vectors, names: Sequence[str], promise: Promise, seed: int = 0
) -> Model:
    """Fit on examples whose texts are normalised, the team's own first."""
    columns = {name: i for i, name in enumerate(names)}
    labels = np.array([len(names) if e.label is None else columns[e.label] for e in examples], dtype=np.intp)
    texts = [e.text for e in examples]
    features = Features.fit(texts)
    rows = features.rows(texts, vectors)
    targets = np.eye(len(names) + 1, dtype=np.float32)[labels]
    some = _sample(labels, TRIED_ON, seed)
    mix = choose_mix(alike(rows.take(some), rows.take(some)), targets[some])
    similar = alike(rows, rows)
    fitted = fit_head(similar.mixed(mix), targets, mix.ridge)
    own = int((labels < len(names)).sum())
    np.fill_diagonal(similar.cosine, -1)  # an example is not its own neighbour
    found = signals(fitted.held_out, similar.cosine[:, :own])
    calibration = _calibrate(fitted.held_out, found, labels, promise)
    return Model(tuple(names), mix, features, rows, labels, fitted.coefficients, fitted.prior, calibration)


def choose_mix(similar: Alike, targets: Matrix) -> Mix:
    """The kernel of the grid under which held-out examples are told apart best (least log loss)."""
    truth = targets.argmax(axis=1)
    own = truth < targets.shape[1] - 1

    def loss(mix: Mix) -> float:
        scores = fit_head(similar.mixed(mix), targets, mix.ridge).held_out
        chance = probabilities(scores, fit_temperature(scores[own], truth[own]))
        return float(-np.log(np.maximum(chance[np.arange(len(truth)), truth], 1e-9)).mean())

    return min(GRID, key=loss)


def _sample(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Indices of at most so many examples, each label in its share, in order."""
    if len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    return np.sort(order[np.linspace(0, len(order) - 1, most).round().astype(int)])


def _calibrate(held_out: Matrix, found: Matrix, labels: np.ndarray, promise: Promise) -> Calibration:
    own = labels < held_out.shape[1] - 1
    temperature = fit_temperature(held_out[own, :-1], labels[own])
    weights, bias = fit_platt(found, own, promise.outside_share)
    inside = expit(found @ weights + bias)
    chance = inside[own] * probabilities(held_out[own, :-1], temperature)[np.arange(own.sum()), labels[own]]
    return Calibration(
        temperature=temperature,
        weights=weights,
        bias=bias,
        threshold=refusal_threshold(inside[own], promise.false_refusal),
        in_set=conformal_threshold(chance, promise.coverage),
    )
