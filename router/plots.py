"""A router's report as pictures (extra `plot`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import MissingExtra
from .report import RouterReport, Scored, reliability, risk_coverage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED = 20
"""Up to so many names a confusion matrix shows its counts."""


def draw(report: RouterReport, scored: Sequence[Scored], folder: Path) -> list[Path]:
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
    many = len(report.names) > NUMBERED
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
    taken, risk = risk_coverage(scored)
    axes.plot(taken, risk, color="tab:blue")
    axes.set(
        xlabel="share of tasks taken, surest first",
        ylabel="share of mistakes among them",
        xlim=(0, 1),
        title=f"mistakes when all are taken: {risk[-1]:.1%}",
    )
    axes.set_ylim(bottom=0)
    return figure
