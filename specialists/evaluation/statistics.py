"""How sure a figure is, and whether one system is better than another: the bootstrap, plain and paired."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...core.types import Value
from .measures import MeasureColumn, Scoring, measure_columns
from .questions import Result

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


def figure(column: MeasureColumn, seed: int = 0) -> Figure:
    """Value and percentile interval over resampled questions (Efron, 1979)."""
    draws = [column.statistic(column.values[rows]) for rows in _resamples(len(column.values), seed)]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Figure(value=column.statistic(column.values), low=float(low), high=float(high), n=column.applies)


def difference(column: MeasureColumn, other: MeasureColumn, seed: int = 0) -> Difference:
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


# The gate: is the challenger better than what is in use? One stated rule.


LEAST_QUESTIONS = 10
"""With fewer questions chance decides."""


LEAST_SURE = 0.9
"""The challenger must be above in so much of the paired resamples. 0.95 would let almost nothing pass on the 40
questions that a specialist usually has."""


RULE = f"better in at least {LEAST_SURE:.0%} of paired bootstrap resamples, on at least {LEAST_QUESTIONS} questions"


class Judgement(Value):
    """What the gate says, and why, in one sentence with figures."""

    better: bool
    why: str


def judge(
    challenger: Sequence[Result], in_use: Sequence[Result], scoring: Scoring, threshold: float, incumbent: str
) -> Judgement:
    """Compare two systems on the same questions in the same order.

    Args:
        threshold: Confidence below which the specialist refuses.
        incumbent: What is in use, for the sentence.
    """
    metric = scoring.gate
    if len(challenger) < LEAST_QUESTIONS:
        return Judgement(better=False, why=f"{len(challenger)} questions decide nothing; {LEAST_QUESTIONS} are needed")
    mine, theirs = (
        measure_columns(challenger, scoring, threshold)[metric],
        measure_columns(in_use, scoring, threshold)[metric],
    )
    gain = difference(mine, theirs)
    before, after = theirs.statistic(theirs.values), mine.statistic(mine.values)
    better = gain.value > 0 and gain.better >= LEAST_SURE
    why = (
        f"{metric} {before:.3f} → {after:.3f} against {incumbent} on {len(challenger)} questions "
        f"({gain.value:+.3f}, 95 % between {gain.low:+.3f} and {gain.high:+.3f}; better in {gain.better:.0%} of "
        f"the resamples, {LEAST_SURE:.0%} needed)"
    )
    return Judgement(better=better, why=why)
