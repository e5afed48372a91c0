"""`metier approve`: decide about calls that wait for a person."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..core.errors import StateError
from .ask_cli import NOBODY, TeamFolder, open_team
from .decisions import FORMS, WAITING, ask_decisions, read_decisions, show_request, visible
from .show import show_answer

if TYPE_CHECKING:
    from ..agents.threads import Threads


def approve(
    thread: Annotated[str | None, typer.Argument(help="The conversation; left out: list all that wait.")] = None,
    decisions: Annotated[
        list[str] | None, typer.Argument(metavar="[DECISION]...", help=f"One for each call: {FORMS}.")
    ] = None,
    team: TeamFolder = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Decide about calls that wait for a person, and let their run go on; without a thread, list them."""
    from ..agents.blueprint import Blueprint
    from ..agents.threads import open_threads

    threads = open_threads(Blueprint.read(team))
    try:
        if thread is None:
            _list(threads, team, json=json)
            return
        left = threads.unfinished(thread)
    finally:
        threads.close()
    if left is None or not left.questions:
        raise StateError(f"nothing waits in thread '{thread}'", hint=f"metier approve -t {team}")
    console = Console()
    if decisions:
        made = read_decisions(decisions, left.request)
    elif json or not sys.stdin.isatty():
        print(left.request.model_dump_json(indent=2)) if json else show_request(console, left.request)
        raise typer.Exit(WAITING)
    else:
        made = ask_decisions(console, left.request)
        if made is None:
            raise typer.Exit(WAITING)
    with open_team(team, quiet=json) as opened:
        answer = opened.resume(thread, made)
    print(answer.model_dump_json(indent=2)) if json else show_answer(console, answer)
    raise typer.Exit({"answer": 0, "waiting": WAITING}.get(answer.kind, NOBODY))


def _list(threads: Threads, team: Path, *, json: bool) -> None:
    left = {t: threads.unfinished(t.id) for t in threads.list() if t.standing == "waiting"}
    waiting = {t: u.request for t, u in left.items() if u}
    if json:
        rows = [{"thread": t.id, "task": t.task, **r.model_dump(mode="json")} for t, r in waiting.items()]
        print(dumps(rows, indent=2, ensure_ascii=False))
        return
    console = Console()
    for found, request in waiting.items():
        console.print(f"[bold]{escape(visible(found.id))}[/] · {escape(visible(found.task))}", highlight=False)
        show_request(console, request)
    if not waiting:
        console.print("nothing waits")
    else:
        console.print(f"[dim]metier approve -t {team} THREAD[/]", highlight=False)
