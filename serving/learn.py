"""How a team learns: `metier train`, `build`, `eval`, `feedback`, and `examples review` for what people said."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ..core.errors import InputError, MissingExtra, unknown
from ..core.files import write_atomic
from .ask import shorten
from .jobs import Cluster, TrainingCommand, training_job
from .options import AsJson, TeamFolder, blueprint_of, command_line, next_lines, print_json, progress_bars

if TYPE_CHECKING:
    from ..agents.cards import Blueprint
    from ..agents.feedback import Proposal
    from ..agents.train import Learnt
    from ..specialists.evaluation.report import EvaluationReport, Summary
    from ..specialists.evaluation.statistics import Figure

app = typer.Typer(help="Examples that specialists learn from.", no_args_is_help=True)

_Outcome = Literal["accepted", "rejected", "left", "quit"]
"""What became of a note."""


def train(
    specialists: Annotated[list[str] | None, typer.Argument(help="Whose examples to learn; left out: all.")] = None,
    team: TeamFolder = Path(),
    out: Annotated[Path | None, typer.Option(help="Write the adapter there, and leave the registry alone.")] = None,
    method: Annotated[str, typer.Option(help="lora, rslora, dora, prompt or full (docs/training.md).")] = "lora",
    minutes: Annotated[float, typer.Option(min=0.1, help="Wall time for the training steps.")] = 15.0,
    seed: Annotated[int, typer.Option(help="The same seed, data and steps give the same adapter.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the lessons, train nothing.")] = False,
    emit: Annotated[Path | None, typer.Option(help="Write a job for a cluster there (docs/scale.md).")] = None,
    cluster: Annotated[Cluster, typer.Option("--on", help="What runs that job.")] = "kubernetes",
    image: Annotated[str | None, typer.Option(help="Its image; left out: metier:VERSION.")] = None,
    claim: Annotated[str, typer.Option(help="Its volume, which holds team/ and models/.")] = "metier",
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of that job.")] = 0,
) -> None:
    """Learn from the examples that have answers: a new adapter for each style, the challenger of each specialist."""
    blueprint = blueprint_of(team, *specialists or ())
    names = specialists or list(blueprint.specialists)
    if emit is not None:
        from ..specialists.training.config import RATES

        if method not in RATES:
            raise InputError(unknown("method", method, RATES))
        recipe = TrainingCommand(tuple(specialists or ()), method, minutes, seed)
        job = training_job(blueprint.card.name, recipe, cluster, image=image, claim=claim, gpus=gpus)
        write_atomic(emit, job)
        next_lines(Console(highlight=False, markup=False, soft_wrap=True), f"kubectl create -f {emit}")
        return
    try:
        from ..agents.train import lesson_counts, train
    except ImportError as error:
        raise MissingExtra(f"training ({error.name})", "train") from error

    if dry_run:
        for name, count in lesson_counts(blueprint, names, out, method=method, seed=seed).items():
            Console(highlight=False, markup=False).print(f"{name}: {count} lessons")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("reading the examples", total=None)
        learnt = train(
            blueprint,
            names,
            out,
            method=method,
            minutes=minutes,
            seed=seed,
            progress=lambda what, done, total: bars.update(bar, description=what, completed=done, total=total),
        )
    _tell(learnt, names, out, team, whole=method == "full")


def _tell(learnt: Learnt, names: list[str], out: Path | None, team: Path, *, whole: bool) -> None:
    """What came of it, and what to do next."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for style, done in learnt.reports.items():
        console.print(f"{style}: {done.examples} lessons, {done.steps} steps, {done.tokens_per_second:.0f} tokens/s")
    if out is not None:
        use = "docs/training.md says how a base is made of" if whole else "`model: {adapter: …}` in a card uses"
        next_lines(console, f"{use} {out}")
        return
    for name, version in learnt.versions.items():
        console.print(f"{name}: {version} is the challenger now")
    for name in sorted(set(names) - set(learnt.versions)):
        console.print(f"{name}: no lessons; they are made of examples with answers (docs/training.md)")
    next_lines(console, f"{command_line('build', team=team)} decides if it is better")


def build(
    team: TeamFolder = Path(),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the last build and start anew.")] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Evaluate challengers, but promote none.")] = False,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Ask the evaluation questions too, and fit the confidence to them.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Index documents, fit the router, promote better adapters; only what changed is done again."""
    from ..agents.build import build as build_team

    blueprint = blueprint_of(team)
    with progress_bars(Console(stderr=True), quiet=json) as progress:
        gate = "hold" if hold else "promote"
        report = build_team(blueprint, progress=progress, fresh=fresh, gate=gate, confidence=confidence)
    if json:
        print_json(report)
        return
    console = Console()
    for line in report.lines():
        console.print(line, highlight=False)
    ask, chat, graph = (command_line(command, team=team) for command in ("ask", "chat", "graph"))
    next_lines(console, f'{ask} "…"', chat, graph)


def evaluate(
    specialists: Annotated[list[str] | None, typer.Argument(help="Whom to evaluate; left out: all.")] = None,
    team: TeamFolder = Path(),
    compare: Annotated[str, typer.Option(help="Systems, with commas.")] = "base,skill,adapter,head,champion,challenger",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions of each specialist.")] = None,
    seed: Annotated[int, typer.Option(help="Which questions, when there is a limit.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask again what was asked before.")] = False,
    json: AsJson = False,
    report: Annotated[Path | None, typer.Option(help="Write one HTML page with plots and answers.")] = None,
) -> None:
    """How good each specialist is on its evaluation set: base, skill, adapter and champion side by side."""
    from ..agents.build import build, changed_since_build
    from ..agents.evaluate import evaluate as compare_systems
    from ..specialists.evaluation.report import page

    blueprint = blueprint_of(team, *specialists or ())
    names = specialists or list(blueprint.specialists)
    with progress_bars(Console(stderr=True), quiet=json) as progress:
        if changed_since_build(blueprint) != []:
            build(blueprint, progress=progress)
        systems = [system.strip() for system in compare.split(",")]
        compared = compare_systems(blueprint, names, systems, progress=progress, limit=limit, seed=seed, fresh=fresh)
    if report:
        write_atomic(report, page(compared))
    if json:
        print_json(compared)
        return
    _show(Console(), compared)
    if report:
        Console().print(f"[dim]written: {escape(str(report))}[/]", highlight=False)


def _show(console: Console, report: EvaluationReport) -> None:
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


def feedback(
    verdict: Annotated[
        Literal["good", "bad", "correction"],
        typer.Argument(help="good, bad, or correction with the right answer.", show_default=False),
    ],
    text: Annotated[str | None, typer.Argument(metavar="CORRECTION", help="The right answer.")] = None,
    team: TeamFolder = Path(),
    thread: Annotated[str | None, typer.Option(help="Conversation; left out: the latest.")] = None,
    specialist: Annotated[str | None, typer.Option("--specialist", "-s", help="Whom it concerns.")] = None,
) -> None:
    """Say what the last answer was worth. It waits for `metier examples review`."""
    from ..agents.feedback import note_of, open_inbox
    from ..agents.threads import open_threads

    blueprint = blueprint_of(team)
    with closing(open_threads(blueprint)) as threads:
        names = list(blueprint.specialists)
        note = note_of(threads, names, verdict, correction=text, thread_id=thread, specialist=specialist)
    open_inbox(blueprint).add(note)
    console = Console()
    console.print(escape(f"{note.specialist}: {verdict} · “{shorten(note.task, 80)}”"), highlight=False)
    next_lines(console, command_line("examples", "review", team=team))


@app.command()
def review(
    specialists: Annotated[list[str] | None, typer.Argument(help="Whose notes; left out: all.")] = None,
    team: TeamFolder = Path(),
    accept_all: Annotated[bool, typer.Option("--accept-all", help="Take every note that has an answer.")] = False,
    json: AsJson = False,
) -> None:
    """Make examples of what people said: accept, edit or reject each note."""
    from ..agents.feedback import proposals
    from ..core.onnx_embedder import load_embedder

    blueprint = blueprint_of(team, *specialists or ())
    names = specialists or list(blueprint.specialists)
    embedder = load_embedder(blueprint.card.embedder)
    done: list[dict[str, str | None]] = []
    console = Console(quiet=json)
    for proposal in (p for name in names for p in proposals(blueprint, name, embedder)):
        did = _settle(blueprint, proposal, console, accept_all=accept_all, ask=not json)
        done.append({**proposal.model_dump(mode="json", include={"note", "answer", "refused"}), "did": did})
        if did == "quit":
            break
    if json:
        print_json(done)
        return
    counted = {word: [d["did"] for d in done].count(word) for word in ("accepted", "rejected", "left")}
    console.print(", ".join(f"{n} {word}" for word, n in counted.items()))
    next_lines(console, command_line("train", team=team))


def _settle(blueprint: Blueprint, proposal: Proposal, console: Console, *, accept_all: bool, ask: bool) -> _Outcome:
    """Do what is wanted with one note."""
    from ..agents.feedback import accept, reject

    _show_notes(console, proposal)
    if proposal.refused and (accept_all or ask):
        console.print(f"  [yellow]rejected: {escape(proposal.refused)}[/]", highlight=False)
        reject(blueprint, proposal.note)
        return "rejected"
    choice, answer = "l", proposal.answer
    if accept_all and answer:
        choice = "a"
    elif ask and not accept_all:
        choice, answer = _choose(console, answer)
    if choice == "a" and answer:
        accept(blueprint, proposal, answer)
        return "accepted"
    if choice == "r":
        reject(blueprint, proposal.note)
        return "rejected"
    return "quit" if choice == "q" else "left"


def _choose(console: Console, answer: str | None) -> tuple[str, str | None]:
    """What a person wants: a letter, and the answer to learn."""
    accepting = "[bold]a[/]ccept, " if answer else ""
    words = f"  {accepting}[bold]e[/]dit, [bold]r[/]eject, [bold]l[/]eave, [bold]q[/]uit: "
    try:
        while (choice := console.input(words).strip().lower()[:1]) not in (("a",) if answer else ()) + tuple("erlq"):
            console.print("  one of these letters, please")
        if choice == "e":
            answer = console.input("  the right answer: ").strip()
            return ("a" if answer else "l"), answer
    except EOFError:
        return "q", None
    return choice, answer


def _show_notes(console: Console, proposal: Proposal) -> None:
    note = proposal.note
    console.print(f"\n[bold]{escape(note.task)}[/]  [dim]{note.specialist}, {note.at}[/]", highlight=False)
    console.print(f"  said: {escape(shorten(note.answer))}  [dim]{escape(note.source or '')}[/]", highlight=False)
    if note.verdict == "correction":
        console.print(f"  right: [green]{escape(note.correction or '')}[/]", highlight=False)
    else:
        console.print(f"  {note.verdict}", highlight=False)
