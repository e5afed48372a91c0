"""`metier ask` and `metier chat`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer
from rich.console import Console

from ..core.errors import InputError, MetierError
from ..core.events import Event
from ..core.types import Answer
from .decisions import WAITING, ask_decisions
from .show import show_answer

if TYPE_CHECKING:
    from ..agents.team import Team

TeamFolder = Annotated[
    Path, typer.Option("--team", "-t", envvar="METIER_TEAM", help="Folder with team.yaml.", show_default=True)
]
User = Annotated[str, typer.Option("--user", "-u", envvar="METIER_USER", help="Whose memory is used.")]
ME = "me"
"""The user of a command line that names none: the one person at this machine."""
NOBODY = 5
"""Exit code when the team had no answer."""
MOST_BYTES = 4_000_000
"""Standard input is read up to here; a task is never that long."""


def ask(
    task: Annotated[str | None, typer.Argument(help="The task; left out or '-': read from standard input.")] = None,
    team: TeamFolder = Path(),
    thread: Annotated[str | None, typer.Option(help="Conversation to go on with.")] = None,
    specialist: Annotated[str | None, typer.Option("--specialist", "-s", help="Skip the router, ask this one.")] = None,
    user: User = ME,
    json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """Ask the team one thing."""
    text = _stdin() if task in (None, "-") else task
    if not text.strip():
        raise InputError("there is no task", hint='metier ask "How often is the filler greased?"')
    opened = open_team(team, quiet=json)
    with opened:
        answer = _work(opened, text, thread, specialist, user, quiet=json)
        if not json:
            answer = _decided(opened, answer)
    if json:
        print(answer.model_dump_json(indent=2))
    else:
        show_answer(Console(), answer)
    raise typer.Exit({"answer": 0, "waiting": WAITING}.get(answer.kind, NOBODY))


def chat(
    team: TeamFolder = Path(),
    thread: Annotated[str | None, typer.Option(help="Conversation to go on with.")] = None,
    user: User = ME,
) -> None:
    """Talk with the team; it remembers what was said before. End with Ctrl-D or /quit."""
    console = Console()
    name = thread or f"chat-{uuid4().hex[:8]}"
    with open_team(team) as opened:
        people = ", ".join(opened.specialists)
        console.print(f"[bold]{opened.card.name}[/] · {people} · thread {name}", highlight=False)
        console.print("[dim]@name asks one of them directly, /new starts afresh, /quit ends[/]")
        while (text := _prompt(console)) not in (None, "/quit", "/exit"):
            if text == "/new":
                name = f"chat-{uuid4().hex[:8]}"
                console.print(f"[dim]new thread {name}[/]")
            elif text:
                try:
                    show_answer(console, _decided(opened, _work(opened, text, name, None, user)))
                except MetierError as error:
                    console.print(f"[red]{error}[/]", highlight=False, markup=False)
    console.print(f"[dim]go on later: metier chat --thread {name}[/]")


def open_team(folder: Path, *, quiet: bool = False) -> Team:
    """The team in that folder; built first when it never was, with a word when its files have changed since."""
    from ..agents.builder import build, changed_since_build
    from ..agents.team import Blueprint, Team
    from .progress import shown

    blueprint = Blueprint.read(folder)
    words = Console(stderr=True)
    changed = changed_since_build(blueprint)
    if changed is None:
        with shown(words, quiet=quiet) as progress:
            build(blueprint, progress=progress)
    elif changed and not quiet:
        words.print(f"[yellow]changed since the build: {', '.join(changed[:3])}[/] → metier build -t {folder}")
    with words.status("loading the team …", spinner="dots"):
        return Team.load(blueprint)


def _work(
    team: Team, text: str, thread: str | None, specialist: str | None, user: str, *, quiet: bool = False
) -> Answer:
    """Ask with a live line that says what is going on."""
    words = Console(stderr=True, quiet=quiet)
    with words.status("reading the task …", spinner="dots") as status:

        def follow(event: Event) -> None:
            if event.name in _STATUS:
                status.update(_STATUS[event.name].format(who=event.specialist or "", **_first(event)))

        return team.ask(text, thread_id=thread, specialist=specialist, user=user, emit=follow)


def _decided(team: Team, answer: Answer) -> Answer:
    """The answer after a person at the terminal has decided what it waits for; as it is when nobody sits there."""
    from ..tools.approval import ApprovalRequest

    while answer.kind == "waiting" and sys.stdin.isatty():
        made = ask_decisions(Console(), ApprovalRequest.model_validate(answer.data))
        if made is None:
            break
        answer = team.resume(answer.thread_id, made)
    return answer


_STATUS = {
    "route": "choosing who works on this …",
    "retrieve": "{who} is reading {source} …",
    "handoff": "{who} asks {to} …",
}


def _first(event: Event) -> dict[str, str]:
    passages = event.data.get("passages") or [{"source": "its documents"}]
    return {"source": passages[0]["source"], "to": str(event.data.get("to", ""))}


def _stdin() -> str:
    if sys.stdin.isatty():
        return ""
    data = sys.stdin.buffer.read(MOST_BYTES)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"standard input is not text: byte {data[error.start]:#04x} at {error.start}", hint="pass UTF-8 text"
        ) from error


def _prompt(console: Console) -> str | None:
    try:
        return console.input("[bold cyan]›[/] ").strip()
    except EOFError:
        return None
