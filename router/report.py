"""How good a router is on tasks whose specialist is known, what to do about its mistakes, and why a task went where it
went. Pictures need the extra `plot`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core.errors import MissingExtra
from ..core.metrics import expected_calibration_error, risk_coverage
from ..core.types import Route, Value
from .decision import DOUBT, Decider
from .features import Example, normalise_example

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_SPECIALIST = "(nobody)"
_TEXTS = 3
"""So many texts are shown of each confusion."""
_MOST = 10
_NEAREST = 5
_MOST_WORDS = 24
"""Of longer tasks only the first so many words are left out in turn."""
_MATTERS = 0.02
"""A word that moves the probability by less is not named."""
_NUMBERED = 20
"""Up to so many names a confusion matrix shows its counts."""


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
        return self.truth != NO_SPECIALIST


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
    """FeatureRows: whose task it was; columns: who got it; both in the order of `names`."""
    confusions: tuple[Confusion, ...]
    suggestions: tuple[str, ...]


def score(example: Example, route: Route) -> Scored:
    """One task against its route; a task without a label is nobody's."""
    truth = example.label or NO_SPECIALIST
    best = route.choices[0].name if route.choices else NO_SPECIALIST
    refused = route.decision == "abstain"
    return Scored(
        truth=truth,
        outcome=NO_SPECIALIST if refused else best,
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
    own = [task for task in scored if task.own]
    names, matrix = _matrix(scored)
    confusions = _confusions(scored)
    return RouterReport(
        tasks=len(scored),
        accuracy=sum(task.right for task in scored) / len(scored),
        in_scope_accuracy=_mean([task.best == task.truth for task in own]),
        oos_recall=_mean([task.right for task in scored if not task.own]),
        false_refusal=_mean([task.outcome == NO_SPECIALIST for task in own]),
        ece=expected_calibration_error([task.confidence for task in scored], [task.right for task in scored]),
        coverage=_mean([task.in_set for task in own]),
        set_size=_mean([task.set_size for task in own]),
        decisions=dict(Counter(task.decision for task in scored)),
        names=names,
        matrix=matrix,
        confusions=tuple(confusions[:_MOST]),
        suggestions=_suggestions(confusions, Counter(task.truth for task in scored)),
    )


def _matrix(scored: Sequence[Scored]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Names in alphabetical order, nobody last and only where it occurs; whose task it was by who got it."""
    counts = Counter((task.truth, task.outcome) for task in scored)
    names = sorted({name for pair in counts for name in pair}, key=lambda name: (name == NO_SPECIALIST, name))
    return tuple(names), tuple(tuple(counts[truth, outcome] for outcome in names) for truth in names)


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
    confusions = [Confusion(truth=t, outcome=o, count=len(v), texts=tuple(v[:_TEXTS])) for (t, o), v in texts.items()]
    return sorted(confusions, key=lambda c: (-c.count, c.truth, c.outcome))


def _suggestions(confusions: Sequence[Confusion], counts: Counter[str]) -> tuple[str, ...]:
    """What would help most, in sentences."""
    sentences = []
    pairs = {(c.truth, c.outcome): c for c in confusions}
    for (truth, outcome), c in pairs.items():
        example = f"“{c.texts[0]}”"
        back = pairs.get((outcome, truth))
        if outcome == NO_SPECIALIST:
            sentences.append(
                f"{c.count} of {counts[truth]} tasks of {truth} are refused: add examples like {example} to {truth}"
            )
        elif truth == NO_SPECIALIST:
            sentences.append(f"{c.count} tasks for nobody reach {outcome}: add {example} to the team's outside tasks")
        elif back and truth < outcome:
            sentences.append(
                f"{truth} and {outcome} overlap ({c.count} and {back.count} tasks): "
                f"say in their cards who does {example}, or join them"
            )
        elif not back:
            sentences.append(
                f"{c.count} of {counts[truth]} tasks of {truth} go to {outcome}: add examples like {example} to {truth}"
            )
    return tuple(sentences[:_MOST])


class Neighbour(Value):
    """An example that is like the task."""

    text: str
    label: str | None
    similarity: float
    """Cosine, at most 1."""


class Word(Value):
    """A word of the task, and what it adds to the probability of the specialist that was chosen."""

    text: str
    effect: float
    otherwise: str | None
    """Who would get the task without this word; None: nobody."""


class Explanation(Value):
    """See `Router.explain`."""

    text: str
    route: Route
    decided_by: str
    """`rule`, `words`, `head` or `thread`."""
    nearest: tuple[Neighbour, ...]
    words: tuple[Word, ...]
    would_change: tuple[str, ...]
    """Sentences."""


def explain(
    decider: Decider, learnt: Sequence[Example], text: str, context: Sequence[str], attachments: Sequence[str]
) -> Explanation:
    """Decide, then ask the model what it would have said to the task with each word left out."""
    route = decider.decide(text, context, attachments)
    clean = normalise_example(text)
    ruled = route.confidence == 1.0 and bool(route.parts)
    words = () if not clean or ruled or route.decision == "several" else _words(decider, clean, route)
    return Explanation(
        text=text,
        route=route,
        decided_by=_decided_by(route),
        nearest=_nearest(decider, learnt, clean) if clean else (),
        words=words,
        would_change=_would_change(decider, route, words),
    )


def _decided_by(route: Route) -> str:
    if "top" in route.signals:
        return "thread" if "read with the thread" in route.reason else "head"
    return "words" if "inside" in route.signals else "rule"


def _nearest(decider: Decider, learnt: Sequence[Example], text: str) -> tuple[Neighbour, ...]:
    cosine = (decider.embedder.embed([text]) @ decider.model.rows.vectors.T)[0]
    best = np.argsort(-cosine, kind="stable")[:_NEAREST]
    return tuple(
        Neighbour(text=learnt[i].text, label=learnt[i].label, similarity=round(float(cosine[i]), 4)) for i in best
    )


def _words(decider: Decider, text: str, route: Route) -> tuple[Word, ...]:
    tokens = text.split()
    if len(tokens) < 2:
        return ()
    without = [" ".join([*tokens[:i], *tokens[i + 1 :]]) for i in range(min(len(tokens), _MOST_WORDS))]
    predicted = decider.predict([text, *without])
    names, threshold = decider.model.names, decider.model.calibration.threshold
    column = names.index(route.choice) if route.choice else int(predicted.given_inside[0].argmax())
    chance = predicted.inside * predicted.given_inside[:, column]
    effects = []
    for row, token in enumerate(tokens[: len(without)], 1):
        effect = float(chance[0] - chance[row])
        other = names[int(predicted.given_inside[row].argmax())] if predicted.inside[row] >= threshold else None
        if abs(effect) >= _MATTERS or other != route.choice:
            effects.append(Word(text=token, effect=round(effect, 4), otherwise=other))
    return tuple(sorted(effects, key=lambda word: -abs(word.effect)))


def _would_change(decider: Decider, route: Route, words: Sequence[Word]) -> tuple[str, ...]:
    calibration = decider.model.calibration
    inside = route.signals.get("inside")
    sentences: list[str] = []
    if _decided_by(route) == "rule":
        sentences.append("only another rule, or a task without what the rule looks for")
    elif inside is not None and route.decision == "abstain":
        sentences.append(
            f"more examples like it: {inside:.0%} is below the {calibration.threshold:.0%} that are needed"
        )
    elif inside is not None and "top" in route.signals:
        sentences.append(f"nobody would get it below {calibration.threshold:.0%} (it has {inside:.0%})")
    best = [choice for choice in route.choices if choice.probability > 0][:2]
    if len(best) == 2 and best[0].probability < DOUBT:
        sentences.append(f"{best[1].name} is close: {best[1].probability:.0%} against {best[0].probability:.0%}")
    turning = [word for word in words if word.otherwise != route.choice][:3]
    sentences += [f"without “{word.text}” it would go to {word.otherwise or 'nobody'}" for word in turning]
    return tuple(sentences)


def draw_plots(report: RouterReport, scored: Sequence[Scored], folder: Path) -> list[Path]:
    """Write `confusion.png`, `reliability.png` and `risk_coverage.png`.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figures = {
        "confusion": _confusion(report),
        "reliability": _reliability(report, scored),
        "risk_coverage": _risk_coverage(scored),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=120)
    return paths


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "plot") from error
    return Figure(figsize=(width, height), layout="constrained")


def _confusion(report: RouterReport) -> Figure:
    side = max(4.0, min(16.0, 1.5 + 0.45 * len(report.names)))
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    counts = np.array(report.matrix, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(image, ax=axes, label="share of the row")
    many = len(report.names) > _NUMBERED
    axes.set_xticks(range(len(report.names)), report.names, rotation=90, fontsize=5 if many else 9)
    axes.set_yticks(range(len(report.names)), report.names, fontsize=5 if many else 9)
    if not many:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="who got the task", ylabel="whose task it was", title=f"accuracy {report.accuracy:.1%}")
    return figure


def _reliability(report: RouterReport, scored: Sequence[Scored]) -> Figure:
    figure = _figure(4.5, 4.5)
    axes = figure.subplots()
    bins = reliability(scored)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="perfect")
    most = max(count for _, _, count in bins)
    sizes = [20 + 180 * count / most for _, _, count in bins]
    axes.plot([b[0] for b in bins], [b[1] for b in bins], color="tab:blue", linewidth=1)
    axes.scatter([b[0] for b in bins], [b[1] for b in bins], s=sizes, color="tab:blue", label="router (area: tasks)")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02), title=f"ECE {report.ece:.3f}")
    axes.legend(loc="upper left")
    return figure


def _risk_coverage(scored: Sequence[Scored]) -> Figure:
    figure = _figure(5.5, 4.0)
    axes = figure.subplots()
    taken, risk = risk_coverage([s.confidence for s in scored], [not s.right for s in scored])
    axes.plot(taken, risk, color="tab:blue")
    axes.set(
        xlabel="share of tasks taken, surest first",
        ylabel="share of mistakes among them",
        xlim=(0, 1),
        title=f"mistakes when all are taken: {risk[-1]:.1%}",
    )
    axes.set_ylim(bottom=0)
    return figure
