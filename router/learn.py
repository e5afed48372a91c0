"""From examples to a fitted model: choose the kernel, solve, calibrate on held-out scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from ..core.embedding import Vectors
from ..core.kernel_ridge import Matrix, fit_kernel_ridge
from .features import Example, Features, Mix, Similarities, Sparse, similarities
from .model import (
    Calibration,
    Model,
    conformal_threshold,
    fit_platt,
    fit_shortcut,
    fit_temperature,
    probabilities,
    refusal_threshold,
    signals,
)

_TRIED_ON = 1200
"""The kernel is chosen on at most so many examples."""
MOST_EXAMPLES = 12_000
"""The head learns from at most so many examples; of more, each label keeps its share."""
_DISTRUST = 4.0
"""Descriptions and documents are not what people type: their ridge is so many times larger."""
_FEW = 20
"""With fewer example tasks than this nothing is known about refusals: the outside texts alone set the threshold."""
_REFUSED = 0.85
"""Share of the outside texts that is refused then."""
_LEAST_SURE, _MOST_SURE = 0.3, 0.6
"""Between these probabilities of being the team's a threshold lies. The lowest of a few dozen examples may be an odd
one, and would let everything in; examples that are all alike are all sure, and would keep everything else out."""
_GROUP = 0.5
"""Like-worded examples are left out together unless they are more than this share of all."""
_FEW_WORDS = 3
"""Examples of so few words are not called like-worded."""
_ROWS = 1000
"""So many examples at once are compared with all others."""
_KERNELS = tuple(
    Mix(gamma, words, pieces)
    for gamma, (words, pieces) in product((1.0, 2.0, 4.0), ((0.0, 0.0), (0.1, 0.3), (0.3, 0.3), (0.5, 0.5), (2.0, 0.0)))
)
_RIDGES = (0.05, 0.2, 0.5)


@dataclass(frozen=True)
class RouterTargets:
    """What the thresholds keep."""

    false_refusal: float = 0.04
    """Share of the team's own tasks that may be refused by mistake."""
    coverage: float = 0.95
    """How often the right specialist is in the conformal set."""
    outside_share: float = 0.5
    """How many of the tasks to come are nobody's, for the probabilities; the thresholds do not depend on it."""


def learn_router(
    examples: Sequence[Example],
    vectors: Vectors,
    names: Sequence[str],
    asked: RouterTargets,
    *,
    seed: int = 0,
    mix: Mix | None = None,
) -> Model:
    """Fit on examples whose texts are normalised, the team's own first. `mix` skips the choice of the kernel."""
    columns = {name: i for i, name in enumerate(names)}
    labels = np.array([len(names) if e.label is None else columns[e.label] for e in examples], dtype=np.intp)
    texts = [e.text for e in examples]
    tasks = np.array([e.kind == "task" for e in examples], dtype=bool)
    features = Features.fit(texts)
    rows = features.rows(texts, vectors)
    targets = np.eye(len(names) + 1, dtype=np.float32)[labels]
    trust = np.where(tasks, 1, _DISTRUST).astype(np.float32)
    if mix is None:
        some = spread(labels, _TRIED_ON, seed)
        mix = choose_mix(similarities(rows.take(some), rows.take(some)), targets[some], trust[some], tasks[some])
    similar = similarities(rows, rows)
    own = int((labels < len(names)).sum())
    groups = like_worded(rows.words[:own], features.words.terms, labels[:own])
    fitted = fit_kernel_ridge(similar.mixed(mix), targets, mix.ridge * trust, groups)
    np.fill_diagonal(similar.cosine, -1)  # an example is not its own neighbour
    for group in groups:
        similar.cosine[np.ix_(group, group)] = -1
    seen = signals(fitted.apart, similar.cosine[:, :own])
    calibration = calibrate(fitted.held_out[tasks], seen[tasks], labels[tasks], asked)
    shortcut = fit_shortcut(texts, labels, len(names) + 1)
    return Model(
        tuple(names),
        mix,
        features,
        rows,
        labels,
        fitted.coefficients,
        fitted.prior,
        fitted.held_out,
        calibration,
        shortcut,
    )


def like_worded(words: Sparse, terms: Sequence[str], labels: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Groups of examples that say nothing about new wordings: "how often is the pump greased" for the specialist of
    pumps and "how often is the valve greased" for that of valves, and the same words twice.

    Args:
        words: (examples, terms): which words each example has.
        terms: Words and pairs of words, of which only the words count.
        labels: (examples,): whose each is.
    """
    single = np.flatnonzero([" " not in term for term in terms])
    held = (words[:, single] > 0).astype(np.float32)
    sizes = np.asarray(held.sum(axis=1)).ravel()
    links: list[tuple[int, int]] = []
    for start in range(0, len(sizes), _ROWS):
        shared = (held[start : start + _ROWS] @ held.T).toarray()
        ours = sizes[start : start + _ROWS, None]
        less, more = np.minimum(ours, sizes), np.maximum(ours, sizes)
        other = labels[start : start + _ROWS, None] != labels
        alike = other & (shared >= less - 1) & (more - less <= 1) & (less > _FEW_WORDS)
        alike |= (shared == more) & (more > 0)
        links += [(int(i) + start, int(j)) for i, j in zip(*np.nonzero(np.triu(alike, start + 1)), strict=True)]
    if not links:
        return []
    ends = np.array(links).T
    graph = csr_matrix((np.ones(len(links)), (ends[0], ends[1])), shape=(len(sizes), len(sizes)))
    _, member = connected_components(graph, directed=False)
    groups = [np.flatnonzero(member == number) for number in np.flatnonzero(np.bincount(member) > 1)]
    return [group for group in groups if len(group) <= _GROUP * len(sizes)]


def choose_mix(similar: Similarities, targets: Matrix, trust: Matrix, tasks: NDArray[np.bool_]) -> Mix:
    """The kernel, then the ridge, under which held-out tasks are told apart best (least log loss)."""
    truth = targets.argmax(axis=1)
    own = tasks & (truth < targets.shape[1] - 1)
    if own.sum() < _FEW:
        return Mix()

    def loss(mix: Mix) -> float:
        scores = fit_kernel_ridge(similar.mixed(mix), targets, mix.ridge * trust).held_out
        chance = probabilities(scores, fit_temperature(scores[own], truth[own]))
        return float(-np.log(np.maximum(chance[np.arange(len(truth)), truth][tasks], 1e-9)).mean())

    kernel = min(_KERNELS, key=loss)
    return min((replace(kernel, ridge=ridge) for ridge in _RIDGES), key=loss)


def spread(labels: NDArray[np.intp], most: int, seed: int) -> NDArray[np.intp]:
    """Indices of at most so many examples, each label in its share, in order."""
    if len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    return np.sort(order[np.linspace(0, len(order) - 1, most).round().astype(np.intp)])


def calibrate(held_out: Matrix, seen: Matrix, labels: NDArray[np.intp], asked: RouterTargets) -> Calibration:
    """Temperature, P(inside) and thresholds from the held-out scores and signals of tasks."""
    own = labels < held_out.shape[1] - 1
    temperature = fit_temperature(held_out[own, :-1], labels[own])
    weights, bias = fit_platt(seen, own, asked.outside_share)
    if own.sum() < _FEW:
        # Even chances where that share of the outside texts is refused.
        bias = -float(np.quantile(seen[~own] @ weights, _REFUSED)) if (~own).any() else bias
        return Calibration(temperature, weights, bias, threshold=0.5, in_set=0.0)
    even = Calibration(temperature, weights, bias, threshold=0.0, in_set=0.0)
    inside = even.inside(seen)[own]
    given = probabilities(held_out[own, :-1], temperature)[np.arange(own.sum()), labels[own]]
    kept = refusal_threshold(inside, asked.false_refusal)
    threshold = float(np.clip(kept, _LEAST_SURE, _MOST_SURE)) if kept else 0.0
    return replace(
        even,
        threshold=threshold,
        lenient=min(kept, threshold),
        in_set=conformal_threshold(inside * given, asked.coverage),
    )
