"""From probabilities to a decision: pure functions, no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.types import Choice, Part, Route
from .model import SIGNALS, Calibration, Judged
from .rules import Ruling
from .split import Piece

CLARIFY_BELOW = 0.5
"""When the best specialist has less than this (given that somebody has), the user is asked which one is meant."""
CLARIFY_COVER = 0.9
"""As many names are offered as cover this much of the probability, at least two and at most `CLARIFY_MOST`."""
CLARIFY_MOST = 3


@dataclass(frozen=True)
class Verdict:
    """What the model says about one text, free of arrays."""

    names: tuple[str, ...]
    inside: float
    """Probability that somebody on the team should answer."""
    given_inside: tuple[float, ...]
    """Whose it is then; sums to 1, or to 0 when all are barred."""
    threshold: float
    in_set: float
    signals: dict[str, float]
    notes: tuple[str, ...] = ()
    """What else the reason should say."""

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

    def noted(self, note: str) -> Verdict:
        return replace(self, notes=(*self.notes, note)) if note else self


def verdict(
    names: tuple[str, ...], calibration: Calibration, judged: Judged, row: int, barred: frozenset[str] = frozenset()
) -> Verdict:
    """One row of what was judged; specialists that are barred have probability 0."""
    chances = judged.given_inside[row].astype(np.float64)
    inside = float(judged.inside[row])
    if barred:
        allowed = np.array([name not in barred for name in names], dtype=np.float64)
        inside *= float(chances @ allowed)
        chances *= allowed
        chances /= chances.sum() or 1.0
    return Verdict(
        names=names,
        inside=inside,
        given_inside=tuple(chances.tolist()),
        threshold=calibration.threshold,
        in_set=calibration.in_set,
        signals=dict(zip(SIGNALS, (round(float(s), 4) for s in judged.signals[row]), strict=True)),
    )


def by_model(text: str, v: Verdict) -> Route:
    """One specialist, a question back, or nobody."""
    best = v.order[0]
    if v.refused:
        reason = f"probably for nobody here: {v.inside:.0%} that it is the team's, {v.threshold:.0%} needed"
        return _route(v, "abstain", 1 - v.inside, reason)
    if v.given_inside[best] < CLARIFY_BELOW and len(v.names) > 1:
        asked = to_ask(v)
        return _route(v, "clarify", v.joint(best), f"could be for {' or '.join(asked)}", candidates=asked)
    return to_one(text, v, best, "from its examples")


def to_one(text: str, v: Verdict, column: int, because: str) -> Route:
    """One specialist gets the whole text."""
    name = v.names[column]
    part = Part(specialist=name, text=text)
    return _route(v, "one", v.joint(column), f"{name} ({v.joint(column):.0%}), {because}", parts=(part,))


def to_several(pieces: Sequence[Piece], v: Verdict, confidence: float) -> Route:
    """Each specialist gets its part of the text."""
    parts = tuple(Part(specialist=v.names[piece.column], text=piece.text) for piece in pieces)
    names = tuple(dict.fromkeys(part.specialist for part in parts))
    return _route(v, "several", confidence, f"parts for {' and '.join(names)}", parts=parts, candidates=names)


def by_rule(ruling: Ruling, names: Sequence[str]) -> Route:
    """What a rule or the user decided, whatever the model thinks."""
    parts = tuple(Part(specialist=name, text=ruling.text) for name in ruling.chosen)
    return Route(
        decision="several" if len(parts) > 1 else "one",
        parts=parts,
        choices=known(names, ruling.chosen, 1.0),
        confidence=1.0,
        candidates=ruling.chosen,
        reason=ruling.reason,
    )


def by_words(text: str, names: Sequence[str], name: str, probability: float, reason: str) -> Route:
    """What words alone decided, without the model."""
    return Route(
        decision="one",
        parts=(Part(specialist=name, text=text),),
        choices=known(names, (name,), probability),
        confidence=probability,
        candidates=(name,),
        reason=reason,
        signals={"inside": probability},
    )


def nobody(names: Sequence[str], reason: str) -> Route:
    """A certain abstention."""
    return Route(decision="abstain", choices=known(names, (), 0.0), confidence=1.0, reason=reason)


def known(names: Sequence[str], chosen: Sequence[str], probability: float) -> tuple[Choice, ...]:
    """Choices where the model was not asked: what is left of 1 is not shared out among the others."""
    others = (Choice(name=name, probability=0.0) for name in names if name not in chosen)
    return (*(Choice(name=name, probability=probability / len(chosen)) for name in chosen), *others)


def to_ask(v: Verdict) -> tuple[str, ...]:
    """The two or three most probable names."""
    covered, asked = 0.0, []
    for column in v.order[:CLARIFY_MOST]:
        asked.append(v.names[column])
        covered += v.given_inside[column]
        if covered >= CLARIFY_COVER and len(asked) > 1:
            break
    return tuple(asked)


def _route(
    v: Verdict,
    decision: str,
    confidence: float,
    reason: str,
    parts: tuple[Part, ...] = (),
    candidates: tuple[str, ...] = (),
) -> Route:
    in_set = (v.names[i] for i in v.order if v.joint(i) >= v.in_set)
    return Route(
        decision=decision,  # pyright: ignore[reportArgumentType]
        parts=parts,
        choices=tuple(Choice(name=v.names[i], probability=v.joint(i)) for i in v.order),
        confidence=confidence,
        candidates=tuple(dict.fromkeys((*candidates, *in_set))),
        reason="; ".join((reason, *v.notes)),
        signals={**v.signals, "inside": v.inside},
    )
