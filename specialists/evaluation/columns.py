"""From results to metrics: each a column with one row a question, and the statistic that makes it one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.calibration_error import expected_calibration_error
from .measures import style_of
from .question import Result

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One metric."""

    values: Array
    """(questions, k); NaN where the metric does not apply."""
    statistic: Callable[[Array], float]
    """Of some of the rows; NaN when none of them applies."""

    @property
    def applies(self) -> int:
        """Questions to which the metric applies."""
        return int(np.isfinite(self.values).all(axis=1).sum())


def columns(results: Sequence[Result], style: str, threshold: float) -> dict[str, Column]:
    """All metrics of a specialist that refuses below `threshold`, in the order in which they are shown.

    Refusals score 0 where there is an answer (and 1 where nobody should answer). `answered` is the share of answers,
    `…_answered` the main metric among them; `abstain_precision` the share of refusals that were due,
    `abstain_recall` the share of due refusals (both only where any is due); `aurc` the area under the risk-coverage
    curve, `ece` how far the confidence is from the share of right answers (0.5 or more), in ten bins; of both, less is
    better.
    """
    rules = style_of(style)
    refused = np.array([r.refused(threshold) for r in results])
    due = np.array([not r.answerable for r in results])
    scores = {name: np.array([r.scores.get(name, 0.0) for r in results]) for name in rules.names}
    seen = {name: np.where(due, refused, np.where(refused, 0.0, score)) for name, score in scores.items()}
    found: dict[str, Column] = {name: _mean(values) for name, values in seen.items()}
    if style == "label":
        found["macro_f1"] = _macro_f1(results, refused)
    if style == "act":
        # As the leaderboard has it: apart for tasks with a call and for those without; `overall` is both.
        found["overall"] = found["ast_match"]
        found["ast_match"] = _mean(np.where(due, np.nan, seen["ast_match"]))
        found["irrelevance"] = _mean(np.where(due, [not r.calls for r in results], np.nan))
    main = scores[rules.main] * ~due
    found |= {
        "answered": _mean(~refused),
        f"{rules.main}_answered": _mean(np.where(refused, np.nan, main)),
        "abstain_precision": _mean(np.where(refused & due.any(), due, np.nan)),
        "abstain_recall": _mean(np.where(due, refused, np.nan)),
        "aurc": Column(np.column_stack([_sureness(results), 1 - main]), aurc),
        "ece": Column(np.column_stack([[r.confidence * r.found for r in results], main >= 0.5]), _ece),
        **{name: _mean(_grounding(results, refused, name)) for name in ("citation_precision", "faithfulness")},
        "seconds_p50": Column(_upright([r.seconds for r in results]), _quantile(0.5)),
        "seconds_p95": Column(_upright([r.seconds for r in results]), _quantile(0.95)),
        "input_tokens": _mean([r.input_tokens for r in results]),
        "output_tokens": _mean([r.output_tokens for r in results]),
    }
    return {name: column for name, column in found.items() if column.applies}


def risk_coverage(results: Sequence[Result], style: str) -> list[tuple[float, float]]:
    """(coverage, mean main metric of what is answered) for every threshold, from few answers to all.

    Source: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
    """
    main = style_of(style).main
    good = np.array([r.scores.get(main, 0.0) * r.answerable for r in results])
    order = np.argsort(-_sureness(results), kind="stable")
    means = np.cumsum(good[order]) / np.arange(1, len(good) + 1)
    return [((n + 1) / len(good), float(value)) for n, value in enumerate(means)]


def aurc(rows: Array) -> float:
    """Area under the risk-coverage curve; columns are confidence and risk."""
    order = np.argsort(-rows[:, 0], kind="stable")
    return float(np.mean(np.cumsum(rows[order, 1]) / np.arange(1, len(rows) + 1)))


def _ece(rows: Array) -> float:
    return expected_calibration_error(rows[:, 0], rows[:, 1], bins=10)


def _sureness(results: Sequence[Result]) -> Array:
    """Confidence; less than any where there is no draft."""
    return np.array([r.confidence if r.found else -1.0 for r in results])


def _grounding(results: Sequence[Result], refused: NDArray[np.bool_], name: str) -> Array:
    return np.where(refused, np.nan, [r.scores.get(name, np.nan) for r in results])


def _macro_f1(results: Sequence[Result], refused: NDArray[np.bool_]) -> Column:
    """Mean over the labels of their F1; where several labels are right, the one that was said counts."""
    said = ["" if no else r.text for r, no in zip(results, refused, strict=True)]
    right = [s if s in r.answers else next(iter(r.answers), "") for r, s in zip(results, said, strict=True)]
    number = {label: n for n, label in enumerate(dict.fromkeys([*right, *said]))}
    pairs = np.array([[number[a], number[b]] for a, b in zip(right, said, strict=True)], dtype=float)
    return Column(pairs, _macro)


def _macro(pairs: Array) -> float:
    right, said = pairs[:, 0], pairs[:, 1]
    scores = [
        2 * np.sum((right == label) & (said == label)) / (np.sum(right == label) + np.sum(said == label))
        for label in np.unique(right)
    ]
    return float(np.mean(scores))


def _mean(values: Any) -> Column:
    return Column(_upright(values), lambda rows: float(_of_those_that_apply(rows[:, 0])))


def _of_those_that_apply(values: Array) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")


def _quantile(share: float) -> Callable[[Array], float]:
    return lambda rows: float(np.quantile(rows[:, 0], share))


def _upright(values: Any) -> Array:
    return np.asarray(values, dtype=float).reshape(-1, 1)
