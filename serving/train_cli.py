"""`metier train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..core.errors import InputError, MissingExtra, unknown
from .ask_cli import TeamFolder


def train(
    specialists: Annotated[list[str] | None, typer.Argument(help="Whose examples to learn; left out: all.")] = None,
    team: TeamFolder = Path(),
    out: Annotated[Path | None, typer.Option(help="Folder of the adapter; left out: `adapter` in the team.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Wall time for the training steps.")] = 15.0,
    seed: Annotated[int, typer.Option(help="The same seed, data and steps give the same adapter.")] = 0,
) -> None:
    """Learn from the examples that have answers: an adapter that goes on from the shipped skill."""
    from ..agents.blueprint import Blueprint

    try:
        from ..agents.lessons import learn
    except ImportError as error:
        raise MissingExtra(f"training ({error.name})", "train") from error

    blueprint = Blueprint.read(team)
    names = specialists or list(blueprint.specialists)
    for name in names:
        if name not in blueprint.specialists:
            raise InputError(unknown("specialist", name, blueprint.specialists))
    folder = out or blueprint.root / "adapter"
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("reading the examples", total=1.0)
        report = learn(
            blueprint,
            names,
            folder,
            minutes=minutes,
            seed=seed,
            report=lambda line, done, left: progress.update(bar, description=line, completed=done),
        )
    typer.echo(f"{folder}: {report.examples} lessons, {report.steps} steps, {report.tokens_per_second:.0f} tokens/s")
    typer.echo(f"Use it: write `model: {{adapter: …}}` into the cards of {', '.join(names)}, then: metier build")
