"""`metier memory`: what a team remembers of people. Look at it, add, forget, take it out, erase it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import InputError, StateError, unknown
from ..core.files import write_atomic
from .ask import ME, TeamFolder, User

if TYPE_CHECKING:
    from ..agents.cards import Blueprint
    from ..memory.facts import Facts
    from ..memory.store import Owner

app = typer.Typer(help="What the team remembers of people: show, add, forget, export, erase.", no_args_is_help=True)

Tenant = Annotated[str | None, typer.Option(help="The user's organisation, where several share the team.")]
Everybody = Annotated[bool, typer.Option("--everybody", help="The facts that hold for everybody instead.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Whose = Annotated[str | None, typer.Option("--user", "-u", help="Of this user.")]
Thread = Annotated[str | None, typer.Option(help="Of this conversation.")]
All = Annotated[bool, typer.Option("--all", help="Of everybody.")]


@app.command()
def show(
    team: TeamFolder = Path(),
    user: User = ME,
    tenant: Tenant = None,
    everybody: Everybody = False,
    json: AsJson = False,
) -> None:
    """The facts about a user, newest first."""
    with _facts(_blueprint(team)) as facts:
        found = facts.of(_owner(user, tenant, everybody))
    if json:
        print(dumps([fact.model_dump(mode="json") for fact in found], indent=2, ensure_ascii=False))
        return
    table = Table("id", "fact", "how", "when", "thread", box=None)
    for fact in found:
        whose = f"{fact.text} [{fact.specialist}]" if fact.specialist else fact.text
        table.add_row(fact.id, escape(whose), fact.how, fact.when[:10], escape(fact.thread_id))
    Console().print(table if found else "nothing is remembered")


@app.command()
def add(
    text: Annotated[str, typer.Argument(help="The fact, a sentence or two.", show_default=False)],
    team: TeamFolder = Path(),
    user: User = ME,
    tenant: Tenant = None,
    everybody: Everybody = False,
    specialist: Annotated[str | None, typer.Option("--specialist", "-s", help="Only this one is told.")] = None,
    json: AsJson = False,
) -> None:
    """Add a fact by hand. What it repeats or replaces is taken out of the older ones."""
    blueprint = _blueprint(team)
    if specialist is not None and specialist not in blueprint.specialists:
        raise InputError(unknown("specialist", specialist, blueprint.specialists))
    with _facts(blueprint) as facts:
        fact = facts.add(text, _owner(user, tenant, everybody), specialist)
    print(fact.model_dump_json(indent=2) if json else f"remembered as {fact.id}")


@app.command()
def forget(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As `show` prints them.", show_default=False)],
    team: TeamFolder = Path(),
    user: User = ME,
    tenant: Tenant = None,
    everybody: Everybody = False,
    json: AsJson = False,
) -> None:
    """Delete single facts. The conversation in which one was said keeps its words: `erase --thread`."""
    with _facts(_blueprint(team)) as facts:
        owner = _owner(user, tenant, everybody)
        known = [fact.id for fact in facts.of(owner)]
        if missing := [one for one in ids if one not in known]:
            raise InputError(unknown("fact", missing[0], known), hint="metier memory show")
        gone = facts.forget(owner, ids)
    if json:
        print(dumps([fact.model_dump(mode="json") for fact in gone], indent=2, ensure_ascii=False))
    else:
        print(f"forgotten: {len(gone)}")


@app.command()
def export(
    team: TeamFolder = Path(),
    user: Whose = None,
    tenant: Tenant = None,
    thread: Thread = None,
    everything: All = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write it there instead of printing it.")] = None,
) -> None:
    """Everything that is kept of a user, a conversation or everybody, as JSON: facts, conversations, log, notes."""
    from ..agents.erasure import export as collect
    from ..agents.erasure import scope_of

    kept = collect(_blueprint(team), scope_of(user, tenant, thread, everything)).model_dump_json(indent=2)
    if out is None:
        print(kept)
    else:
        write_atomic(out, kept + "\n")


@app.command()
def erase(
    team: TeamFolder = Path(),
    user: Whose = None,
    tenant: Tenant = None,
    thread: Thread = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: AsJson = False,
) -> None:
    """Delete what is kept of a user, a conversation or everybody, everywhere and for good."""
    from ..agents.erasure import erase as wipe
    from ..agents.erasure import scope_of

    blueprint = _blueprint(team)
    scope = scope_of(user, tenant, thread, everything)
    if not yes:
        named = [f"{kind} '{name}'" for kind, name in (("user", user), ("thread", thread)) if name is not None]
        whose = " in ".join(named) or "everybody"
        typer.confirm(f"Erase what is kept of {whose} for good?", abort=True, err=True)
    erased = wipe(blueprint, scope)
    if json:
        print(erased.model_dump_json(indent=2))
        return
    print(
        f"erased: {erased.facts} facts, {erased.threads} threads, {erased.decisions} decisions, {erased.notes} notes"
        f"{'; the router was fitted again' if erased.router_fitted else ''}"
    )


def _owner(user: str | None, tenant: str | None, everybody: bool) -> Owner:
    from ..memory.store import Owner

    return Owner(None if everybody else user, tenant)


def _blueprint(team: Path) -> Blueprint:
    from ..agents.cards import Blueprint

    return Blueprint.read(team)


@contextmanager
def _facts(blueprint: Blueprint) -> Iterator[Facts]:
    from ..agents.turn_memory import open_turn_memory

    memory = open_turn_memory(blueprint)
    if memory.facts is None:
        raise StateError("this team keeps no facts", hint="memory: {facts: sqlite} in team.yaml")
    try:
        yield memory.facts
    finally:
        memory.close()
