"""What an evaluation says: figures of each system, how far it is above the first, and the results behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from pydantic import ConfigDict

from ...core.types import Value
from .measures import Scoring, coverage_curve, measure_columns
from .questions import Result
from .statistics import RULE, Difference, Figure, difference, figure


class SystemSummary(Value):
    """One system on one specialist's questions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    system: str
    """`base`, `skill`, `adapter`, `champion`, `challenger`."""
    version: str
    same_as: str | None
    """The system before it that is the very same version."""
    metrics: dict[str, Figure]
    above_first: Difference | None
    """On the gate's metric, against the first system; None for the first itself."""
    results: tuple[Result, ...]
    """In the order of the questions, which is the same for all systems."""


class Summary(Value):
    """One specialist."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    specialist: str
    style: str
    gate: str
    """The metric that decides."""
    main: str
    """The score of single answers that says most."""
    threshold: float
    """Confidence below which it refuses."""
    systems: tuple[SystemSummary, ...]

    @property
    def metrics(self) -> list[str]:
        """All names, in the order of the system that has most."""
        most_first = sorted((list(s.metrics) for s in self.systems), key=len, reverse=True)
        return list(dict.fromkeys(name for names in most_first for name in names))


class EvaluationReport(Value):
    """A team's evaluation."""

    team: str
    base: str
    specialists: tuple[Summary, ...]
    left_out: dict[str, str]
    """Specialist to why it was not evaluated."""


def summarise(
    specialist: str,
    style: str,
    scoring: Scoring,
    threshold: float,
    systems: Sequence[tuple[str, str]],
    results: Sequence[Sequence[Result]],
) -> Summary:
    """The summary of one specialist.

    Args:
        systems: Name and version of each.
        results: Of each, on the same questions in the same order; at least one question.
    """
    summaries = list[SystemSummary]()
    first = measure_columns(results[0], scoring, threshold)[scoring.gate]
    for (system, version), answered in zip(systems, results, strict=True):
        table = measure_columns(answered, scoring, threshold)
        summaries.append(
            SystemSummary(
                system=system,
                version=version,
                same_as=next((s.system for s in summaries if s.version == version), None),
                metrics={name: figure(column) for name, column in table.items()},
                above_first=difference(table[scoring.gate], first) if summaries else None,
                results=tuple(answered),
            )
        )
    return Summary(
        specialist=specialist,
        style=style,
        gate=scoring.gate,
        main=scoring.main,
        threshold=threshold,
        systems=tuple(summaries),
    )


# Plots as SVG, drawn here: a page that needs no library and no network to be seen.


COLOURS = ("#8a8f98", "#3b7dd8", "#e08a1e", "#2f9e63", "#b0489c")
"""One a system, in their order; told apart by people who do not see red and green alike, and named beside."""


WIDTH, BAR, LEFT = 640, 26, 130
"""Pixels: of the plot, of a bar with its gap, of the names."""


SIDE, EDGE = 300, 40


def bars(figures: Mapping[str, Figure], title: str) -> str:
    """A bar with its interval for each system; values from 0 to 1."""
    room, rows = WIDTH - LEFT - 150, []
    for n, (name, shown) in enumerate(figures.items()):
        y, colour = 8 + n * BAR, COLOURS[n % len(COLOURS)]
        low, high, end = (LEFT + room * v for v in (shown.low, shown.high, shown.value))
        middle = y + 8
        rows.append(
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{max(1, end - LEFT):.1f}" height="16" fill="{colour}"/>'
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {y + 4}v8M{high:.1f} {y + 4}v8" class="whisker"/>'
            f'<text x="{LEFT + room + 10}" y="{y + 12}">{shown.value:.3f} ({shown.low:.3f}–{shown.high:.3f})</text>'
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


# The report as one HTML page that needs nothing else: tables, plots, where systems differ, the worst answers.


PAGE = Path(__file__).with_name("page.html")


WORST = 12
"""Answers that are shown with their texts."""


LESS_IS_MORE = ("aurc", "ece", "seconds_p50", "seconds_p95", "input_tokens", "output_tokens")


def page(report: EvaluationReport) -> str:
    """The whole page."""
    about = (
        f"Base {escape(report.base)}. Values with 95 % bootstrap intervals; refusals count as the question deserves."
    )
    left = [f"<p>{escape(name)}: not evaluated, {escape(why)}.</p>" for name, why in report.left_out.items()]
    body = "\n".join([*(_specialist(s) for s in report.specialists), *left])
    title = escape(f"{report.team}: evaluation")
    return Template(PAGE.read_text(encoding="utf-8")).substitute(title=title, about=about, body=body)


def _specialist(summary: Summary) -> str:
    systems = [s for s in summary.systems if s.same_as is None]
    questions = len(systems[0].results)
    parts = [
        f"<h2>{escape(summary.specialist)}</h2>",
        f'<p class="about">style {escape(summary.style)} · {questions} questions · refuses below '
        f"{summary.threshold:.2f} · a challenger must be {RULE}</p>",
        *(
            f"<p>{escape(s.system)} is the same version as {escape(s.same_as or '')}.</p>"
            for s in summary.systems
            if s.same_as
        ),
        bars({s.system: s.metrics[summary.gate] for s in systems}, summary.gate),
        _metrics(summary, systems),
        "<h3>How good the answers are, when fewer are given</h3>",
        curves(
            {s.system: coverage_curve(s.results, summary.main) for s in systems},
            {s.system: s.metrics["answered"].value for s in systems},
            f"mean {summary.main} of the answers, the surest first",
        ),
        _differences(summary, systems),
        _worst(summary, systems[-1]),
    ]
    return "\n".join(parts)


def _metrics(summary: Summary, systems: Sequence[SystemSummary]) -> str:
    head = "".join(f"<th>{escape(s.system)}<br><small>{s.version}</small></th>" for s in systems)
    rows = [
        f"<tr{_decides(name, summary)}><td>{name}{' ↓' if name in LESS_IS_MORE else ''}</td>"
        + "".join(f'<td class="number">{_cell(s.metrics.get(name))}</td>' for s in systems)
        + "</tr>"
        for name in summary.metrics
    ]
    above = [(s.system, s.above_first) for s in systems if s.above_first]
    last = "".join(
        f"<p>{escape(system)} − {escape(systems[0].system)}, {summary.gate}: {d.value:+.3f} "
        f"({d.low:+.3f} to {d.high:+.3f}); above in {d.better:.0%} of the paired resamples.</p>"
        for system, d in above
    )
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>{last}'


def _decides(name: str, summary: Summary) -> str:
    return ' class="decides"' if name == summary.gate else ""


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    digits = 0 if figure.value >= 10 else 3
    return f"{figure.value:.{digits}f} <small>{figure.low:.{digits}f}–{figure.high:.{digits}f}, n {figure.n}</small>"


def _differences(summary: Summary, systems: Sequence[SystemSummary]) -> str:
    """Questions on which the systems differ."""
    rows = []
    for answers in zip(*(s.results for s in systems), strict=True):
        if len({round(_score(a, summary), 3) for a in answers}) > 1:
            cells = "".join(f"<td>{_said(a, summary)}</td>" for a in answers)
            rows.append(f"<tr><td>{escape(answers[0].input)}{_right(answers[0])}</td>{cells}</tr>")
    if not rows:
        return "<h3>Where the systems differ</h3><p>Nowhere.</p>"
    head = "".join(f"<th>{escape(s.system)}</th>" for s in systems)
    table = f'<div class="wide"><table><tr><th>question</th>{head}</tr>{"".join(rows)}</table></div>'
    return f"<h3>Where the systems differ ({len(rows)} of {len(systems[0].results)})</h3>{table}"


def _worst(summary: Summary, system: SystemSummary) -> str:
    """The least good answers, the most confident of them first."""
    wrong = [r for r in system.results if _score(r, summary) < 1]
    shown = sorted(wrong, key=lambda r: (_score(r, summary), -r.confidence))[:WORST]
    items = [
        f"<details><summary>{escape(r.input)} · {_said(r, summary)} · {r.confidence:.0%} sure</summary>"
        f"{_right(r)}{_texts(r)}</details>"
        for r in shown
    ]
    return f"<h3>The worst answers of {escape(system.system)}</h3>" + ("".join(items) or "<p>None is wrong.</p>")


def _texts(result: Result) -> str:
    cited = [
        f"<blockquote>{escape(c.context or c.quote)}<br><small>{escape(c.source)}</small></blockquote>"
        for c in result.citations
    ]
    calls = [f"<p><code>{escape(c.name)}({escape(str(c.arguments))})</code></p>" for c in result.calls]
    reason = f"<p>{escape(result.reason)}</p>" if result.reason else ""
    return "".join([*cited, *calls, reason])


def _said(result: Result, summary: Summary) -> str:
    score = f" <small>{_score(result, summary):.2f}</small>"
    if result.refused(summary.threshold):
        return f'<span class="refused">refused{f": {escape(result.text)}" if result.found else ""}</span>{score}'
    kind = "right" if _score(result, summary) == 1 else "wrong"
    return f'<span class="{kind}">{escape(result.text)}</span>{score}'


def _right(result: Result) -> str:
    return f"<br><small>right: {escape(' / '.join(result.answers)) or 'to refuse'}</small>"


def _score(result: Result, summary: Summary) -> float:
    """What a user sees of it: 0 for a refusal, unless it was due."""
    refused = result.refused(summary.threshold)
    return float(refused) if not result.answerable else 0.0 if refused else result.scores.get(summary.main, 0.0)
