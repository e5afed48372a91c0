"""`metier feedback` and `metier examples`: what people say about answers, and what becomes of it."""

from __future__ import annotations

from enum import StrEnum
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from ..core.errors import InputError, unknown
from .ask_cli import TeamFolder
from .show import shorten

if TYPE_CHECKING:
    from ..agents.blueprint import Blueprint
    from ..agents.feedback import Proposal

app = typer.Typer(help="Examples that specialists learn from.", no_args_is_help=True)


class Said(StrEnum):
    """What can be said about an answer."""

    good = "good"
    bad = "bad"
    correction = "correction"


def feedback(
    verdict: Annotated[
        Said, typer.Argument(help="good, bad, or correction with the right answer.", show_default=False)
    ],
    text: Annotated[str | None, typer.Argument(metavar="CORRECTION", help="The right answer.")] = None,
    team: TeamFolder = Path(),
    thread: Annotated[str | None, typer.Option(help="Conversation; left out: the latest.")] = None,
    specialist: Annotated[str | None, typer.Option("--specialist", "-s", help="Whom it concerns.")] = None,
) -> None:
    """Say what the last answer was worth. It waits for `metier examples review`."""
    from ..agents.blueprint import Blueprint
    from ..agents.feedback import note_of, open_inbox
    from ..agents.threads import open_threads

    blueprint = Blueprint.read(team)
    threads = open_threads(blueprint)
    try:
        names = list(blueprint.specialists)
        note = note_of(threads, names, verdict.value, correction=text, thread_id=thread, specialist=specialist)
    finally:
        threads.close()
    open_inbox(blueprint).add(note)
    told = f"{note.specialist}: {verdict.value} · “{shorten(note.task, 80)}” → metier examples review -t {team}"
    Console().print(escape(told), highlight=False)


@app.command()
def review(
    specialists: Annotated[list[str] | None, typer.Argument(help="Whose notes; left out: all.")] = None,
    team: TeamFolder = Path(),
    accept_all: Annotated[bool, typer.Option("--accept-all", help="Take every note that has an answer.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the notes, or what was done with them, as JSON.")] = False,
) -> None:
    """Make examples of what people said: accept, edit or reject each note."""
    from ..agents.blueprint import Blueprint
    from ..agents.feedback import proposals
    from ..core.onnx_embedder import load_embedder

    blueprint = Blueprint.read(team)
    names = specialists or list(blueprint.specialists)
    for name in names:
        if name not in blueprint.specialists:
            raise InputError(unknown("specialist", name, blueprint.specialists))
    embedder = load_embedder(blueprint.card.embedder)
    done: list[dict[str, str | None]] = []
    console = Console(quiet=json)
    for proposal in (p for name in names for p in proposals(blueprint, name, embedder)):
        did = _settle(blueprint, proposal, console, accept_all=accept_all, ask=not json)
        done.append({**proposal.model_dump(mode="json", include={"note", "answer", "refused"}), "did": did})
        if did == "quit":
            break
    if json:
        print(dumps(done, indent=2, ensure_ascii=False))
    else:
        counted = {word: [d["did"] for d in done].count(word) for word in ("accepted", "rejected", "left")}
        console.print(", ".join(f"{n} {word}" for word, n in counted.items()) + f" → metier train -t {team}")


Did = Literal["accepted", "rejected", "left", "quit"]


def _settle(blueprint: Blueprint, proposal: Proposal, console: Console, *, accept_all: bool, ask: bool) -> Did:
    """Do what is wanted with one note."""
    from ..agents.feedback import accept, reject

    _show(console, proposal)
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


def _show(console: Console, proposal: Proposal) -> None:
    note = proposal.note
    console.print(f"\n[bold]{escape(note.task)}[/]  [dim]{note.specialist}, {note.at}[/]", highlight=False)
    console.print(f"  said: {escape(shorten(note.answer))}  [dim]{escape(note.source or '')}[/]", highlight=False)
    if note.verdict == "correction":
        console.print(f"  right: [green]{escape(note.correction or '')}[/]", highlight=False)
    else:
        console.print(f"  {note.verdict}", highlight=False)
