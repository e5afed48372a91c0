"""The report as one HTML page that needs nothing else: tables, plots, where systems differ, the worst answers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from .columns import risk_coverage
from .gate import RULE
from .plots import bars, curves
from .question import Result
from .statistics import Figure
from .summary import Report, Summary, SystemSummary

PAGE = Path(__file__).with_name("page.html")
WORST = 12
"""Answers that are shown with their texts."""
LESS_IS_MORE = ("aurc", "ece", "seconds_p50", "seconds_p95", "input_tokens", "output_tokens")


def page(report: Report) -> str:
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
            {s.system: risk_coverage(s.results, summary.style) for s in systems},
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
