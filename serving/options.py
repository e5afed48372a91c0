"""What the commands share: their options, the team that they are about, and what they print for programs and people."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBars

from ..core.errors import InputError, unknown

if TYPE_CHECKING:
    from ..agents.cards import Blueprint
    from ..core.run import Progress

TeamFolder = Annotated[
    Path, typer.Option("--team", "-t", envvar="METIER_TEAM", help="Folder with team.yaml.", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
User = Annotated[str, typer.Option("--user", "-u", envvar="METIER_USER", help="Whose memory is used.")]


def specialist_names(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell's completion: who is on the team that the command line names so far. Reads no card."""
    folder = Path(context.params.get("team") or os.environ.get("METIER_TEAM") or "")
    return sorted(c.parent.name for c in folder.glob("*/specialist.yaml") if c.parent.name.startswith(incomplete))


SpecialistName = Annotated[
    str,
    typer.Argument(
        metavar="SPECIALIST",
        help="Name of the specialist.",
        show_default=False,
        autocompletion=specialist_names,
    ),
]
ThreadName = Annotated[str, typer.Argument(metavar="THREAD", help="Name of the conversation.")]

ME = "me"
"""The user of a command line that names none: the one person at this machine."""


def blueprint_of(team: Path, *specialists: str) -> Blueprint:
    """The cards of the team in that folder.

    Raises:
        ConfigError: there is no team, or a card is wrong.
        InputError: the team has no specialist of one of these names.
    """
    from ..agents.cards import Blueprint

    blueprint = Blueprint.read(team)
    for name in specialists:
        if name not in blueprint.specialists:
            raise InputError(unknown("specialist", name, blueprint.specialists))
    return blueprint


def print_json(value: Any) -> None:
    """Print a value as JSON: models, dataclasses, paths, and lists and dictionaries of them."""
    from pydantic_core import to_json

    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    print(to_json(value, indent=2, inf_nan_mode="null", ensure_ascii=plain).decode())


def command_line(*words: object, team: Path = Path()) -> str:
    """A `metier` command to copy into a shell; the team is named where it is not the present folder.

    >>> command_line("build", team=Path("our team"))
    "metier build -t 'our team'"
    """
    where = [] if team == Path() else ["-t", team]
    return shlex.join(map(str, ["metier", *words, *where]))


def next_lines(console: Console, *lines: str) -> None:
    """Say, in a quiet colour, which commands come next."""
    console.print(f"next: {'  ·  '.join(lines)}", style="dim", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bars(
    console: Console, *, quiet: bool = False, transient: bool = False, amount: ProgressColumn | None = None
) -> Iterator[Progress]:
    """A `Progress` that draws one bar with an ETA for each kind of work that it is told of."""
    columns = (TextColumn("{task.description}"), BarColumn(), amount or MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, TaskID] = {}
    with ProgressBars(*columns, console=console, disable=quiet, transient=transient) as drawn:

        def progress(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = drawn.add_task(what, total=total or None)
            drawn.update(bars[what], completed=done, total=total or None)

        yield progress
