"""`metier eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .ask_cli import TeamFolder

if TYPE_CHECKING:
    from ..specialists.evaluation.statistics import Figure
    from ..specialists.evaluation.summary import Report, Summary


def evaluate(
    specialists: Annotated[list[str] | None, typer.Argument(help="Whom to evaluate; left out: all.")] = None,
    team: TeamFolder = Path(),
    compare: Annotated[str, typer.Option(help="Systems, with commas.")] = "base,skill,adapter,head,champion,challenger",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions of each specialist.")] = None,
    seed: Annotated[int, typer.Option(help="Which questions, when there is a limit.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask again what was asked before.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print figures and answers as JSON.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write one HTML page with plots and answers.")] = None,
) -> None:
    """How good each specialist is on its evaluation set: base, skill, adapter and champion side by side."""
    from ..agents.bench import open_bench
    from ..agents.blueprint import Blueprint
    from ..agents.builder import build, changed_since_build
    from ..agents.evaluation import compare as run
    from ..core.files import write_atomic
    from ..specialists.evaluation.page import page
    from .progress import shown

    blueprint = Blueprint.read(team)
    names = specialists or list(blueprint.specialists)
    with shown(Console(stderr=True), quiet=json) as progress:
        if changed_since_build(blueprint) != []:
            build(blueprint, progress=progress)
        with open_bench(blueprint, progress, limit=limit, seed=seed, fresh=fresh) as bench:
            found = run(bench, names, [s.strip() for s in compare.split(",")])
    if report:
        write_atomic(report, page(found))
    if json:
        print(found.model_dump_json(indent=2))
        return
    _show(Console(), found)
    if report:
        Console().print(f"[dim]written: {escape(str(report))}[/]", highlight=False)


def _show(console: Console, report: Report) -> None:
    for summary in report.specialists:
        console.print(_table(summary))
    for name, why in report.left_out.items():
        console.print(f"[yellow]{escape(name)}: not evaluated, {escape(why)}[/]", highlight=False)


def _table(summary: Summary) -> Table:
    systems = summary.systems
    table = Table(
        title=f"{summary.specialist} · {summary.style} · {len(systems[0].results)} questions", title_justify="left"
    )
    table.add_column("metric")
    for system in systems:
        table.add_column(f"{system.system}\n{system.version}", justify="right")
    for name in summary.metrics:
        style = "bold" if name == summary.gate else None
        table.add_row(name, *(_cell(s.metrics.get(name)) for s in systems), style=style)
    return table


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    value, interval = (0, 0) if figure.value >= 10 else (3, 2)
    return f"{figure.value:.{value}f} [dim]{figure.low:.{interval}f}–{figure.high:.{interval}f}[/]"
