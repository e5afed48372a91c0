"""Plots as SVG, drawn here: a page that needs no library and no network to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from .statistics import Figure

COLOURS = ("#8a8f98", "#3b7dd8", "#e08a1e", "#2f9e63", "#b0489c")
"""One a system, in their order; told apart by people who do not see red and green alike, and named beside."""

WIDTH, BAR, LEFT = 640, 26, 130
"""Pixels: of the plot, of a bar with its gap, of the names."""
SIDE, EDGE = 300, 40


def bars(figures: Mapping[str, Figure], title: str) -> str:
    """A bar with its interval for each system; values from 0 to 1."""
    room, rows = WIDTH - LEFT - 150, []
    for n, (name, figure) in enumerate(figures.items()):
        y, colour = 8 + n * BAR, COLOURS[n % len(COLOURS)]
        low, high, end = (LEFT + room * v for v in (figure.low, figure.high, figure.value))
        middle = y + 8
        rows.append(
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{max(1, end - LEFT):.1f}" height="16" fill="{colour}"/>'
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {y + 4}v8M{high:.1f} {y + 4}v8" class="whisker"/>'
            f'<text x="{LEFT + room + 10}" y="{y + 12}">{figure.value:.3f} ({figure.low:.3f}–{figure.high:.3f})</text>'
        )
    return _svg(WIDTH, 12 + len(figures) * BAR, title, "".join(rows))


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], marks: Mapping[str, float], title: str) -> str:
    """A line for each system in a square from 0 to 1.

    Args:
        lines: System to points (share answered, how good the answers are).
        marks: System to the share that it answers; a dot stands there.
    """
    parts = [_frame("share of the questions that is answered", title)]
    for n, (name, points) in enumerate(lines.items()):
        colour = COLOURS[n % len(COLOURS)]
        path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = min(points, key=lambda p: abs(p[0] - marks[name]))
        if marks[name] > 0:
            parts.append(f'<circle cx="{_x(at[0]):.1f}" cy="{_y(at[1]):.1f}" r="5" fill="{colour}"/>')
        y = EDGE + 16 + 20 * n
        parts.append(f'<rect x="{EDGE + SIDE + 16}" y="{y - 10}" width="14" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{EDGE + SIDE + 36}" y="{y}">{escape(name)}</text>')
    return _svg(WIDTH, SIDE + 2 * EDGE, title, "".join(parts))


def _frame(below: str, title: str) -> str:
    lines = []
    for step in range(6):
        value = step / 5
        lines.append(f'<path d="M{_x(0)} {_y(value):.1f}H{_x(1)}M{_x(value):.1f} {_y(0)}V{_y(1)}" class="grid"/>')
        lines.append(f'<text x="{_x(0) - 6}" y="{_y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>')
        lines.append(f'<text x="{_x(value):.1f}" y="{_y(0) + 16}" text-anchor="middle">{value:.1f}</text>')
    lines.append(f'<text x="{_x(0.5)}" y="{_y(0) + 34}" text-anchor="middle">{escape(below)}</text>')
    lines.append(f'<text x="{_x(0)}" y="{_y(1) - 12}">{escape(title)}</text>')
    return "".join(lines)


def _x(value: float) -> float:
    return EDGE + SIDE * value


def _y(value: float) -> float:
    return EDGE + SIDE * (1 - value)


def _svg(width: int, height: int, title: str, inner: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"<title>{escape(title)}</title>{inner}</svg>"
    )
