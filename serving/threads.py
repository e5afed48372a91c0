"""`metier threads`: the saved conversations of a team."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .ask import end_with, open_team, shorten, visible
from .options import AsJson, TeamFolder, ThreadName, blueprint_of, command_line, print_json

if TYPE_CHECKING:
    from ..agents.threads import Thread, Threads

app = typer.Typer(help="Saved conversations: look, go back, copy, forget.", no_args_is_help=True)


@app.command("list")
def list_threads(team: TeamFolder = Path(), json: AsJson = False) -> None:
    """All conversations, the latest first."""
    with _threads(team) as threads:
        conversations = threads.list()
    if json:
        print_json(conversations)
        return
    console = Console(soft_wrap=True, highlight=False)
    for thread in conversations:
        count = f"{thread.turns} turn{'' if thread.turns == 1 else 's'}"
        console.print(f"[bold]{escape(visible(thread.id))}[/]  {_when(thread)}  {thread.standing}, {count}")
        _print_turn(console, thread)
    if not conversations:
        console.print("no conversations yet")


@app.command()
def show(
    thread: ThreadName,
    team: TeamFolder = Path(),
    moments: Annotated[bool, typer.Option("--moments", help="All moments that can be gone back to.")] = False,
    json: AsJson = False,
) -> None:
    """A conversation from its beginning: what was asked and answered, and the moment after each task."""
    with _threads(team) as threads:
        known = threads.history(thread)
    if json:
        print_json(known)
        return
    console = Console(soft_wrap=True, highlight=False)
    for number, turn in enumerate(_turns(known), 1):
        last = turn[0]
        console.print(f"[bold]{number}[/]  {_when(last)}  {last.standing}  [dim]{last.checkpoint}[/]")
        console.print(f"   › {escape(visible(last.task))}")
        if last.text:
            console.print(f"   [green]{_indented(visible(last.text))}[/]")
        for moment in turn[1:] if moments else ():
            console.print(f"     [dim]{_when(moment)}  {moment.standing:10}  {moment.checkpoint}[/]")
        console.print()
    back = command_line("threads", "fork", thread, "MOMENT", team=team)
    console.print(f"[dim]back to a moment: {escape(back)}[/]")


@app.command()
def fork(
    thread: ThreadName,
    moment: Annotated[str, typer.Argument(help="A moment of `metier threads show`.")],
    to: Annotated[str | None, typer.Option(help="Name of the new conversation.")] = None,
    team: TeamFolder = Path(),
) -> None:
    """A new conversation that is what this one was at a moment; prints its name."""
    with _threads(team) as threads:
        print(threads.fork(thread, moment, to))


@app.command()
def copy(
    thread: ThreadName, to: Annotated[str, typer.Argument(help="Name of the copy.")], team: TeamFolder = Path()
) -> None:
    """The whole conversation once more."""
    with _threads(team) as threads:
        print(threads.copy(thread, to))


@app.command()
def resume(thread: ThreadName, team: TeamFolder = Path(), json: AsJson = False) -> None:
    """Go on with a task that was broken off when its process ended."""
    with open_team(team, quiet=json) as opened:
        answer = opened.resume(thread)
    end_with(answer, json=json)


@app.command()
def prune(
    threads: Annotated[list[str] | None, typer.Argument(metavar="[THREAD]...", help="Left out: all.")] = None,
    team: TeamFolder = Path(),
) -> None:
    """Keep only the last moment of conversations; they can go on, but nobody can go back in them."""
    with _threads(team) as opened:
        opened.prune(*(threads or ()))


@app.command()
def delete(thread: ThreadName, team: TeamFolder = Path()) -> None:
    """Forget a conversation."""
    with _threads(team) as threads:
        threads.delete(thread)


def _threads(team: Path) -> closing[Threads]:
    from ..agents.threads import open_threads

    return closing(open_threads(blueprint_of(team)))


def _turns(moments: Sequence[Thread]) -> Iterator[list[Thread]]:
    """The moments of each task, the last first; the tasks in the order in which they were asked."""
    grouped = [list(turn) for _, turn in groupby(moments, key=lambda moment: (moment.turns, moment.task))]
    return reversed(grouped)


def _indented(text: str) -> str:
    return escape(text).replace("\n", "\n   ")


def _when(thread: Thread) -> str:
    """The time on this machine's clock."""
    return datetime.fromisoformat(thread.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _print_turn(console: Console, thread: Thread) -> None:
    """The last task and, once there is one, its answer: a line each."""
    console.print(f"  › {escape(visible(shorten(thread.task, 100)))}")
    if thread.text:
        console.print(f"  [green]{escape(visible(shorten(thread.text, 100)))}[/]")
