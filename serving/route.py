"""`metier route`: who would work on a task, why, and how often that is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from ..core.errors import ConfigError, InputError, unknown
from .options import AsJson, TeamFolder, blueprint_of, command_line, next_lines, print_json

if TYPE_CHECKING:
    from ..agents.cards import Blueprint
    from ..router.features import Example
    from ..router.log import DecisionLog
    from ..router.report import Explanation, RouterReport
    from ..router.router import Router

_TASK = "task"


class _TaskFirst(TyperGroup):
    """What is not the name of a command is a task: `metier route "how many filters are left?"`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [_TASK, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_TaskFirst,
    help='Who would work on a task: metier route "how many filters are left?" --explain',
    no_args_is_help=True,
)


@app.command(_TASK)
def task(
    text: Annotated[str, typer.Argument(help="The task.", show_default=False)],
    team: TeamFolder = Path(),
    explain: Annotated[bool, typer.Option("--explain", "-e", help="Say why, and what would change it.")] = False,
    context: Annotated[list[str] | None, typer.Option(help="Earlier task that it refers to; may be repeated.")] = None,
    attachment: Annotated[list[str] | None, typer.Option(help="Name of a file that comes with it.")] = None,
    log: Annotated[bool, typer.Option("--log", help="Keep the decision, to correct it later.")] = False,
    json: AsJson = False,
) -> None:
    """Route one task without doing it (the word 'task' may be left out)."""
    router = _open(team)
    before, attached = context or (), attachment or ()
    explained = router.explain(text, context=before, attachments=attached)
    kept = _log(team).add(router, text, explained.route, context=before, attachments=attached) if log else ""
    if json:
        print_json(explained if explain else explained.route)
        return
    console = Console()
    _show(console, explained, more=explain)
    if kept:
        console.print(f"kept as {kept}", highlight=False)
        next_lines(console, f"{command_line('route', 'correct', kept, team=team)} NAME")


@app.command("eval")
def evaluate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="JSON lines with 'input' and 'specialist' (null: nobody).", show_default=False),
    ] = None,
    team: TeamFolder = Path(),
    plots: Annotated[Path | None, typer.Option(help="Draw three PNG files into this folder.")] = None,
    json: AsJson = False,
) -> None:
    """How often the router is right. Without files: on its own examples, each as if it had not been learnt."""
    from ..router.report import draw_plots, report, score

    router = _open(team)
    pairs = [(e, router.route(e.text)) for e in _read(files, router)] if files else router.held_out_routes()
    scored = [score(example, route) for example, route in pairs]
    figures = report(scored)
    if json:
        print_json(figures)
    else:
        _show_report(Console(), figures)
    if plots:
        for path in draw_plots(figures, scored, plots):
            Console(stderr=True).print(f"{path} written", highlight=False)


@app.command("log")
def show_log(
    team: TeamFolder = Path(), last: Annotated[int, typer.Option(help="How many.")] = 20, json: AsJson = False
) -> None:
    """The last decisions, with the ids that `metier route correct` wants."""
    from ..router.log import route_summary

    decisions = list(_log(team).decisions())[-last:]
    if json:
        print_json(decisions)
        return
    for decision in decisions:
        print(f"{decision.id}  {route_summary(decision.route)}  {decision.text}")


@app.command()
def correct(
    decision: Annotated[str, typer.Argument(help="Id of a logged decision.", show_default=False)],
    specialist: Annotated[str, typer.Argument(help="Who should have got it, or 'nobody'.", show_default=False)],
    team: TeamFolder = Path(),
) -> None:
    """Say who should have got a logged task; `metier route learn` or the next `metier build` makes it count."""
    router = _open(team)
    if specialist != "nobody" and specialist not in router.names:
        raise InputError(unknown("specialist", specialist, [*router.names, "nobody"]))
    _log(team).correct(decision, None if specialist == "nobody" else specialist)
    console = Console()
    console.print("noted")
    next_lines(console, command_line("route", "learn", team=team))


@app.command()
def learn(team: TeamFolder = Path()) -> None:
    """Teach the router all corrections, and show which logged decisions change."""
    log, router = _log(team), _open(team)
    corrections = log.corrections()
    if not corrections:
        raise InputError(f"no corrections in {log.path}", hint="metier route correct ID NAME")
    taught = router.corrected(corrections)
    for changed in log.replay(taught):
        print(f"{changed.id}  {changed.before} → {changed.after}  {changed.text}")
    taught.save(_folder(blueprint_of(team)))
    print(f"{len(corrections)} corrections learnt")


@app.command()
def replay(team: TeamFolder = Path(), json: AsJson = False) -> None:
    """Decide every logged task again; show what comes out otherwise now."""
    log = _log(team)
    changes = log.replay(_open(team))
    if json:
        print_json(changes)
        return
    for change in changes:
        note = "" if change.same_features else "  (the text is seen otherwise now)"
        print(f"{change.id}  {change.before} → {change.after}  {change.text}{note}")
    print(f"{len(changes)} of {len(list(log.decisions()))} decisions would change")


def _folder(blueprint: Blueprint) -> Path:
    return blueprint.state / "router"


def _open(team: Path) -> Router:
    from ..core.onnx_embedder import load_embedder
    from ..router.router import Router

    blueprint = blueprint_of(team)
    return Router.load(_folder(blueprint), load_embedder(blueprint.card.embedder))


def _log(team: Path) -> DecisionLog:
    from ..agents.assemble import decisions

    return decisions(blueprint_of(team))


def _read(files: list[Path], router: Router) -> list[Example]:
    from ..core.files import read_jsonl
    from ..router.features import Example

    def example(row: dict[str, Any]) -> Example:
        label = row.get("specialist")
        if not isinstance(row.get("input"), str) or (label is not None and label not in router.names):
            raise ConfigError(
                f"expected 'input' and a 'specialist' (or null), found {sorted(row)}",
                hint=f"specialists: {', '.join(router.names)}",
            )
        return Example(text=row["input"], label=label)

    return [row for path in files for row in read_jsonl(path, example)]


def _show(console: Console, explained: Explanation, *, more: bool) -> None:
    route = explained.route
    head = " + ".join(p.specialist for p in route.parts) or route.decision
    console.print(f"[bold]{escape(head)}[/]  {escape(route.reason)}", highlight=False)
    if len(route.parts) > 1:
        for part in route.parts:
            console.print(f"  {escape(part.specialist)}: {escape(part.text)}", highlight=False)
    if not more:
        return
    chances = Table("specialist", "probability", box=None, pad_edge=False)
    for choice in route.choices:
        chances.add_row(choice.name, f"{choice.probability:6.1%}  {'█' * round(20 * choice.probability)}")
    console.print(chances)
    nearest = Table("nearest examples", "of", "similarity", box=None, pad_edge=False)
    for neighbour in explained.nearest:
        nearest.add_row(escape(neighbour.text), neighbour.label or "nobody", f"{neighbour.similarity:.2f}")
    console.print(nearest)
    effects = ", ".join(f"{word.text} {word.effect:+.0%}" for word in explained.words)
    lines = [f"decided by: {explained.decided_by}", f"candidates: {', '.join(route.candidates) or 'none'}"]
    lines += [f"words: {effects}"] if effects else []
    lines += [f"would change it: {sentence}" for sentence in explained.would_change]
    for line in lines:
        console.print(escape(line), highlight=False)


def _show_report(console: Console, report: RouterReport) -> None:
    figures = report.model_dump(
        include={"accuracy", "in_scope_accuracy", "oos_recall", "false_refusal", "ece", "coverage", "set_size"}
    )
    table = Table("figure", "value", title=f"{report.tasks} tasks")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), "–" if value is None else f"{value:.3f}")
    console.print(table)
    for confusion in report.confusions:
        console.print(
            f"[bold]{confusion.count}[/] of {escape(confusion.truth)} → {escape(confusion.outcome)}", highlight=False
        )
        for text in confusion.texts:
            console.print(f"    {escape(text)}", highlight=False)
    for suggestion in report.suggestions:
        console.print(f"[green]→[/] {escape(suggestion)}", highlight=False)
