"""`metier memory`: what a team remembers of people. Look at it, add, forget, take it out, erase it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import InputError, StateError, unknown
from ..core.files import write_atomic
from .options import ME, AsJson, TeamFolder, User, Yes, blueprint_of, print_json

if TYPE_CHECKING:
    from ..agents.cards import Blueprint
    from ..agents.erasure import Scope
    from ..memory.facts import Facts
    from ..memory.store import Owner

app = typer.Typer(help="What the team remembers of people: show, add, forget, export, erase.", no_args_is_help=True)

Tenant = Annotated[str | None, typer.Option(help="The user's organisation, where several share the team.")]


def _owner(
    user: User = ME,
    tenant: Tenant = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="The facts that hold for everybody instead.")] = False,
) -> Owner:
    """Whose facts they are."""
    from ..memory.store import Owner

    return Owner(None if everybody else user, tenant)


def _scope(
    user: Annotated[str | None, typer.Option("--user", "-u", help="Of this user.")] = None,
    tenant: Tenant = None,
    thread: Annotated[str | None, typer.Option(help="Of this conversation.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Of everybody.")] = False,
) -> Scope:
    """Whose traces they are."""
    from ..agents.erasure import scope_of

    return scope_of(user, tenant, thread, everything)


def _with(name: str, make: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of `make` in the place of its parameter `name`, and what `make` makes of them.

    typer has one parameter for each option; so those that several commands share would stand in each of them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options, own = inspect.signature(make).parameters, inspect.signature(command).parameters
        merged = {k: p for key, one in own.items() for k, p in (options if key == name else {key: one}).items()}

        @wraps(command)
        def run(**given: Any) -> None:
            command(**{name: make(**{key: given.pop(key) for key in options})}, **given)

        annotations = {**command.__annotations__, **make.__annotations__}
        run.__annotations__ = {key: annotations[key] for key in merged}
        hints = get_type_hints(run, include_extras=True)
        parameters = [p.replace(annotation=hints[key], kind=p.KEYWORD_ONLY) for key, p in merged.items()]
        run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
        return run

    return decorate


@app.command()
@_with("owner", _owner)
def show(owner: Owner, team: TeamFolder = Path(), json: AsJson = False) -> None:
    """The facts about a user, newest first."""
    with _facts(blueprint_of(team)) as facts:
        remembered = facts.of(owner)
    if json:
        print_json(remembered)
        return
    table = Table("id", "fact", "how", "when", "thread", box=None)
    for fact in remembered:
        text = f"{fact.text} [{fact.specialist}]" if fact.specialist else fact.text
        table.add_row(fact.id, escape(text), fact.how, fact.when[:10], escape(fact.thread_id))
    Console().print(table if remembered else "nothing is remembered")


@app.command()
@_with("owner", _owner)
def add(
    text: Annotated[str, typer.Argument(help="The fact, a sentence or two.", show_default=False)],
    owner: Owner,
    team: TeamFolder = Path(),
    specialist: Annotated[str | None, typer.Option("--specialist", "-s", help="Only this one is told.")] = None,
    json: AsJson = False,
) -> None:
    """Add a fact by hand. What it repeats or replaces is taken out of the older ones."""
    blueprint = blueprint_of(team, *[specialist] if specialist is not None else [])
    with _facts(blueprint) as facts:
        fact = facts.add(text, owner, specialist)
    if json:
        print_json(fact)
    else:
        print(f"remembered as {fact.id}")


@app.command()
@_with("owner", _owner)
def forget(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As `show` prints them.", show_default=False)],
    owner: Owner,
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """Delete single facts. The conversation in which one was said keeps its words: `erase --thread`."""
    with _facts(blueprint_of(team)) as facts:
        known = [fact.id for fact in facts.of(owner)]
        if missing := [id for id in ids if id not in known]:
            raise InputError(unknown("fact", missing[0], known), hint="metier memory show")
        forgotten = facts.forget(owner, ids)
    if json:
        print_json(forgotten)
    else:
        print(f"forgotten: {len(forgotten)}")


@app.command()
@_with("scope", _scope)
def export(
    scope: Scope,
    team: TeamFolder = Path(),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write it there instead of printing it.")] = None,
) -> None:
    """Everything that is kept of a user, a conversation or everybody, as JSON: facts, conversations, log, notes."""
    from ..agents.erasure import export as collect

    kept = collect(blueprint_of(team), scope)
    if out is None:
        print_json(kept)
    else:
        write_atomic(out, kept.model_dump_json(indent=2) + "\n")


@app.command()
@_with("scope", _scope)
def erase(scope: Scope, team: TeamFolder = Path(), yes: Yes = False, json: AsJson = False) -> None:
    """Delete what is kept of a user, a conversation or everybody, everywhere and for good."""
    from ..agents.erasure import erase as wipe

    blueprint = blueprint_of(team)
    if not yes:
        user = scope.owner.user if scope.owner else None
        named = [f"{kind} '{name}'" for kind, name in (("user", user), ("thread", scope.thread)) if name is not None]
        whose = " in ".join(named) or "everybody"
        typer.confirm(f"Erase what is kept of {whose} for good?", abort=True, err=True)
    erased = wipe(blueprint, scope)
    if json:
        print_json(erased)
        return
    print(
        f"erased: {erased.facts} facts, {erased.threads} threads, {erased.decisions} decisions, {erased.notes} notes"
        f"{'; the router was fitted again' if erased.router_fitted else ''}"
    )


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
