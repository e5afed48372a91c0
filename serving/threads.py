"""`metier threads`: the saved conversations of a team."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .ask import NOBODY, WAITING, TeamFolder, open_team, shorten, show_answer, visible

if TYPE_CHECKING:
    from ..agents.threads import Thread, Threads

app = typer.Typer(help="Saved conversations: look, go back, copy, forget.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="THREAD", help="Name of the conversation.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_threads(team: TeamFolder = Path(), json: AsJson = False) -> None:
    """All conversations, the latest first."""
    with _threads(team) as threads:
        _print(threads.list(), "id", json=json)


@app.command()
def show(thread: Name, team: TeamFolder = Path(), json: AsJson = False) -> None:
    """All moments of a conversation that can be gone back to, the latest first."""
    with _threads(team) as threads:
        _print(threads.history(thread), "checkpoint", json=json)


@app.command()
def fork(
    thread: Name,
    moment: Annotated[str, typer.Argument(help="A moment of `metier threads show`.")],
    to: Annotated[str | None, typer.Option(help="Name of the new conversation.")] = None,
    team: TeamFolder = Path(),
) -> None:
    """A new conversation that is what this one was at a moment; prints its name."""
    with _threads(team) as threads:
        print(threads.fork(thread, moment, to))


@app.command()
def copy(thread: Name, to: Annotated[str, typer.Argument(help="Name of the copy.")], team: TeamFolder = Path()) -> None:
    """The whole conversation once more."""
    with _threads(team) as threads:
        print(threads.copy(thread, to))


@app.command()
def resume(thread: Name, team: TeamFolder = Path(), json: AsJson = False) -> None:
    """Go on with a task that was broken off when its process ended."""
    with open_team(team, quiet=json) as opened:
        answer = opened.resume(thread)
    print(answer.model_dump_json(indent=2)) if json else show_answer(Console(), answer)
    raise typer.Exit({"answer": 0, "waiting": WAITING}.get(answer.kind, NOBODY))


@app.command()
def prune(
    threads: Annotated[list[str] | None, typer.Argument(metavar="[THREAD]...", help="Left out: all.")] = None,
    team: TeamFolder = Path(),
) -> None:
    """Keep only the last moment of conversations; they can go on, but nobody can go back in them."""
    with _threads(team) as opened:
        opened.prune(*(threads or ()))


@app.command()
def delete(thread: Name, team: TeamFolder = Path()) -> None:
    """Forget a conversation."""
    with _threads(team) as threads:
        threads.delete(thread)


@contextmanager
def _threads(folder: Path) -> Iterator[Threads]:
    from ..agents.cards import Blueprint
    from ..agents.threads import open_threads

    threads = open_threads(Blueprint.read(folder))
    try:
        yield threads
    finally:
        threads.close()


def _print(found: Sequence[Thread], key: str, *, json: bool) -> None:
    if json:
        print(dumps([t.model_dump(mode="json") for t in found], indent=2, ensure_ascii=False))
        return
    table = Table(box=None)
    # What other commands take is not cut off.
    table.add_column(key if key != "id" else "thread", min_width=max((len(getattr(t, key)) for t in found), default=0))
    for name in ("saved", "turns", "is", "last task", "answer"):
        table.add_column(name)
    for t in found:
        words = (shorten(visible(text.replace("\n", " ")), 60) for text in (t.task, t.text))
        table.add_row(*map(escape, (getattr(t, key), t.at[:19], str(t.turns), t.standing, *words)))
    Console().print(table if found else "no conversations yet")
