"""The gate: is the challenger better than what is in use? One stated rule."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.types import Value
from .columns import columns
from .measures import style_of
from .question import Result
from .statistics import difference

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
    challenger: Sequence[Result], in_use: Sequence[Result], style: str, threshold: float, incumbent: str
) -> Judgement:
    """Compare two systems on the same questions in the same order.

    Args:
        threshold: Confidence below which the specialist refuses.
        incumbent: What is in use, for the sentence.
    """
    metric = style_of(style).gate
    if len(challenger) < LEAST_QUESTIONS:
        return Judgement(better=False, why=f"{len(challenger)} questions decide nothing; {LEAST_QUESTIONS} are needed")
    mine, theirs = columns(challenger, style, threshold)[metric], columns(in_use, style, threshold)[metric]
    found = difference(mine, theirs)
    before, after = theirs.statistic(theirs.values), mine.statistic(mine.values)
    better = found.value > 0 and found.better >= LEAST_SURE
    why = (
        f"{metric} {before:.3f} → {after:.3f} against {incumbent} on {len(challenger)} questions "
        f"({found.value:+.3f}, 95 % between {found.low:+.3f} and {found.high:+.3f}; better in {found.better:.0%} of "
        f"the resamples, {LEAST_SURE:.0%} needed)"
    )
    return Judgement(better=better, why=why)
