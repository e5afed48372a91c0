"""How sure a figure is, and whether one system is better than another: the bootstrap, plain and paired."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...core.types import Value
from .columns import Column

RESAMPLES = 1000


class Figure(Value):
    """A metric's value with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    """Questions to which the metric applies."""


class Difference(Value):
    """How much a system is above another on the same questions."""

    value: float
    low: float
    high: float
    better: float
    """Share of the resamples in which it is above (0 to 1)."""


def figure(column: Column, seed: int = 0) -> Figure:
    """Value and percentile interval over resampled questions (Efron, 1979)."""
    draws = [column.statistic(column.values[rows]) for rows in _resamples(len(column.values), seed)]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Figure(value=column.statistic(column.values), low=float(low), high=float(high), n=column.applies)


def difference(column: Column, other: Column, seed: int = 0) -> Difference:
    """`column` minus `other`, which hold the same questions in the same order: both are resampled together.

    Source of the paired test: Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004.
    """
    draws = np.array(
        [
            column.statistic(column.values[r]) - other.statistic(other.values[r])
            for r in _resamples(len(column.values), seed)
        ]
    )
    low, high = np.nanquantile(draws, [0.025, 0.975])
    value = column.statistic(column.values) - other.statistic(other.values)
    return Difference(value=value, low=float(low), high=float(high), better=float(np.nanmean(draws > 0)))


def _resamples(questions: int, seed: int) -> NDArray[np.intp]:
    """(RESAMPLES, questions) rows, drawn with replacement."""
    return np.random.default_rng(seed).integers(0, questions, (RESAMPLES, questions))
