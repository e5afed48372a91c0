"""From probabilities to a decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.types import Choice, Part, Route
from .model import SIGNALS, Judged, Model

CLARIFY_BELOW = 0.5
"""When the best specialist has less than this (given that somebody has), the user is asked which one is meant."""
CLARIFY_COVER = 0.9
CLARIFY_MOST = 3


@dataclass(frozen=True)
class Verdict:
    """What the model says about one text, free of arrays."""

    names: tuple[str, ...]
    inside: float
    threshold: float
    given_inside: tuple[float, ...]
    in_set: float
    signals: dict[str, float]

    @property
    def refused(self) -> bool:
        return self.inside < self.threshold

    @property
    def order(self) -> list[int]:
        """Columns, most probable first."""
        return sorted(range(len(self.names)), key=lambda i: (-self.given_inside[i], self.names[i]))

    def joint(self, column: int) -> float:
        """Probability that somebody should answer, and that it is this one."""
        return self.inside * self.given_inside[column]


def verdict(model: Model, judged: Judged, row: int, barred: frozenset[str] = frozenset()) -> Verdict:
    """One row of what was judged; specialists that are barred have probability 0."""
    allowed = np.array([name not in barred for name in model.names], dtype=np.float64)
    chances = judged.given_inside[row].astype(np.float64) * allowed
    total = float(chances.sum())
    return Verdict(
        names=model.names,
        inside=float(judged.inside[row]) if total else 0.0,
        threshold=model.calibration.threshold,
        given_inside=tuple((chances / total if total else chances).tolist()),
        in_set=model.calibration.in_set,
        signals=dict(zip(SIGNALS, (round(float(s), 4) for s in judged.signals[row]), strict=True)),
    )


def decide(text: str, v: Verdict) -> Route:
    """One specialist, a question back, or nobody."""
    order = v.order
    best = order[0]
    candidates = tuple(v.names[i] for i in order if v.joint(i) >= v.in_set)
    choices = tuple(Choice(name=v.names[i], probability=v.joint(i)) for i in order)
    shared = {"choices": choices, "signals": {**v.signals, "inside": v.inside}}
    if v.refused:
        reason = f"probably a task for nobody here ({v.inside:.0%} that it is the team's, needed {v.threshold:.0%})"
        return Route(decision="abstain", candidates=candidates, confidence=1 - v.inside, reason=reason, **shared)
    if v.given_inside[best] < CLARIFY_BELOW:
        asked = _to_ask(v, order)
        return Route(
            decision="clarify",
            candidates=tuple(dict.fromkeys((*asked, *candidates))),
            confidence=v.joint(best),
            reason=f"could be for {' or '.join(asked)}",
            **shared,
        )
    part = Part(specialist=v.names[best], text=text)
    reason = f"{v.names[best]} with {v.joint(best):.0%}, from the examples"
    return Route(
        decision="one", parts=(part,), candidates=candidates, confidence=v.joint(best), reason=reason, **shared
    )


def _to_ask(v: Verdict, order: list[int]) -> list[str]:
    """The two or three most probable names: as many as cover most of the probability."""
    covered, asked = 0.0, []
    for column in order[:CLARIFY_MOST]:
        asked.append(v.names[column])
        covered += v.given_inside[column]
        if covered >= CLARIFY_COVER and len(asked) > 1:
            break
    return asked
