"""`metier train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..core.errors import InputError, MissingExtra, unknown
from .ask_cli import TeamFolder

if TYPE_CHECKING:
    from ..agents.learning import Learnt


def train(
    specialists: Annotated[list[str] | None, typer.Argument(help="Whose examples to learn; left out: all.")] = None,
    team: TeamFolder = Path(),
    out: Annotated[Path | None, typer.Option(help="Write the adapter there, and leave the registry alone.")] = None,
    method: Annotated[str, typer.Option(help="lora, rslora, dora, prompt or full (docs/training.md).")] = "lora",
    minutes: Annotated[float, typer.Option(min=0.1, help="Wall time for the training steps.")] = 15.0,
    seed: Annotated[int, typer.Option(help="The same seed, data and steps give the same adapter.")] = 0,
) -> None:
    """Learn from the examples that have answers: a new adapter for each style, the challenger of each specialist."""
    from ..agents.blueprint import Blueprint

    try:
        from ..agents.learning import learn
    except ImportError as error:
        raise MissingExtra(f"training ({error.name})", "train") from error

    blueprint = Blueprint.read(team)
    names = specialists or list(blueprint.specialists)
    for name in names:
        if name not in blueprint.specialists:
            raise InputError(unknown("specialist", name, blueprint.specialists))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("reading the examples", total=1.0)
        learnt = learn(
            blueprint,
            names,
            out,
            method=method,
            minutes=minutes,
            seed=seed,
            report=lambda line, done, left: progress.update(bar, description=line, completed=done),
        )
    _tell(learnt, names, out, team, whole=method == "full")


def _tell(learnt: Learnt, names: list[str], out: Path | None, team: Path, *, whole: bool) -> None:
    """What came of it, and what to do next."""
    for style, done in learnt.reports.items():
        typer.echo(f"{style}: {done.examples} lessons, {done.steps} steps, {done.tokens_per_second:.0f} tokens/s")
    if out is not None:
        use = "docs/training.md says how a base is made of" if whole else "`model: {adapter: …}` in a card uses"
        typer.echo(f"next: {use} {out}")
        return
    for name, version in learnt.versions.items():
        typer.echo(f"{name}: {version} is the challenger now")
    for name in sorted(set(names) - set(learnt.versions)):
        typer.echo(f"{name}: no lessons; they are made of examples with answers (docs/training.md)")
    typer.echo(f"next: metier build -t {team} decides if it is better")
