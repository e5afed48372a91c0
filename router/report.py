"""How good a router is on tasks whose specialist is known, and what to do about its mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..core.calibration_error import expected_calibration_error
from ..core.types import Route, Value
from .example import Example

NOBODY = "(nobody)"
TEXTS = 3
"""So many texts are shown of each confusion."""
MOST = 10


class Scored(NamedTuple):
    """One task and its route, as numbers."""

    truth: str
    outcome: str
    """Who got it: the most probable specialist unless it was refused."""
    best: str
    """The most probable specialist, refused or not."""
    confidence: float
    """Probability that `outcome` is right."""
    in_set: bool
    set_size: int
    decision: str
    text: str

    @property
    def right(self) -> bool:
        return self.outcome == self.truth

    @property
    def own(self) -> bool:
        """Is it a task of the team?"""
        return self.truth != NOBODY


class Confusion(Value):
    """Tasks of one that went to another."""

    truth: str
    outcome: str
    count: int
    texts: tuple[str, ...]


class RouterReport(Value):
    """Fractions between 0 and 1; `None` where there was nothing to count."""

    tasks: int
    accuracy: float
    """Share of all tasks that went to the right one, or rightly to nobody."""
    in_scope_accuracy: float | None
    """Share of the team's tasks whose most probable specialist is right, refused or not."""
    oos_recall: float | None
    """Share of nobody's tasks that were refused."""
    false_refusal: float | None
    """Share of the team's tasks that were refused."""
    ece: float
    coverage: float | None
    """How often the right specialist is in the conformal set, over the team's tasks."""
    set_size: float | None
    decisions: dict[str, int]
    names: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    """Rows: whose task it was; columns: who got it; both in the order of `names`."""
    confusions: tuple[Confusion, ...]
    suggestions: tuple[str, ...]


def score(example: Example, route: Route) -> Scored:
    """One task against its route; a task without a label is nobody's."""
    truth = example.label or NOBODY
    best = route.choices[0].name if route.choices else NOBODY
    refused = route.decision == "abstain"
    return Scored(
        truth=truth,
        outcome=NOBODY if refused else best,
        best=best,
        confidence=route.confidence if refused else route.choices[0].probability,
        in_set=truth in route.candidates,
        set_size=len(route.candidates),
        decision=route.decision,
        text=example.text,
    )


def report(scored: Sequence[Scored]) -> RouterReport:
    """Figures, confusions and suggestions. Raises ValueError without tasks."""
    if not scored:
        raise ValueError("no tasks to report on")
    own, others = [s for s in scored if s.own], [s for s in scored if not s.own]
    names = sorted({s.truth for s in own} | {s.outcome for s in scored} - {NOBODY})
    if others or any(s.outcome == NOBODY for s in scored):
        names.append(NOBODY)
    place = {name: i for i, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), dtype=int)
    for s in scored:
        matrix[place[s.truth], place[s.outcome]] += 1
    confusions = _confusions(scored)
    return RouterReport(
        tasks=len(scored),
        accuracy=float(np.mean([s.right for s in scored])),
        in_scope_accuracy=_mean([s.best == s.truth for s in own]),
        oos_recall=_mean([s.right for s in others]),
        false_refusal=_mean([s.outcome == NOBODY for s in own]),
        ece=expected_calibration_error([s.confidence for s in scored], [s.right for s in scored]),
        coverage=_mean([s.in_set for s in own]),
        set_size=_mean([s.set_size for s in own]),
        decisions=dict(Counter(s.decision for s in scored)),
        names=tuple(names),
        matrix=tuple(tuple(int(v) for v in row) for row in matrix),
        confusions=tuple(confusions[:MOST]),
        suggestions=_suggestions(confusions, Counter(s.truth for s in scored)),
    )


def risk_coverage(scored: Sequence[Scored]) -> tuple[list[float], list[float]]:
    """Share of tasks that are taken (the surest first), and the share of mistakes among them."""
    order = sorted(scored, key=lambda s: -s.confidence)
    wrong = np.cumsum([not s.right for s in order])
    taken = np.arange(1, len(order) + 1)
    return (taken / len(order)).tolist(), (wrong / taken).tolist()


def reliability(scored: Sequence[Scored], bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and count of each bin that is not empty."""
    sure = np.array([s.confidence for s in scored])
    right = np.array([s.right for s in scored])
    where = np.minimum((sure * bins).astype(int), bins - 1)
    return [
        (float(sure[where == b].mean()), float(right[where == b].mean()), int((where == b).sum()))
        for b in range(bins)
        if (where == b).any()
    ]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _confusions(scored: Sequence[Scored]) -> list[Confusion]:
    texts: dict[tuple[str, str], list[str]] = {}
    for s in sorted(scored, key=lambda s: -s.confidence):
        if not s.right:
            texts.setdefault((s.truth, s.outcome), []).append(s.text)
    found = [Confusion(truth=t, outcome=o, count=len(v), texts=tuple(v[:TEXTS])) for (t, o), v in texts.items()]
    return sorted(found, key=lambda c: (-c.count, c.truth, c.outcome))


def _suggestions(confusions: Sequence[Confusion], counts: Counter[str]) -> tuple[str, ...]:
    """What would help most, in sentences."""
    said = []
    pairs = {(c.truth, c.outcome): c for c in confusions}
    for (truth, outcome), c in pairs.items():
        example = f"“{c.texts[0]}”"
        back = pairs.get((outcome, truth))
        if outcome == NOBODY:
            said.append(
                f"{c.count} of {counts[truth]} tasks of {truth} are refused: add examples like {example} to {truth}"
            )
        elif truth == NOBODY:
            said.append(f"{c.count} tasks for nobody reach {outcome}: add {example} to the team's outside tasks")
        elif back and truth < outcome:
            said.append(
                f"{truth} and {outcome} overlap ({c.count} and {back.count} tasks): "
                f"say in their cards who does {example}, or join them"
            )
        elif not back:
            said.append(
                f"{c.count} of {counts[truth]} tasks of {truth} go to {outcome}: add examples like {example} to {truth}"
            )
    return tuple(said[:MOST])
