"""`metier users` and `metier keys`: who may use a server of the team."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..core.errors import InputError
from .accounts import SCOPES, USUAL, Account, Accounts, open_accounts
from .audit import note_command
from .options import AsJson, TeamFolder, Yes, blueprint_of, command_line, next_lines, print_json

if TYPE_CHECKING:
    from ..agents.cards import Blueprint

users_app = typer.Typer(help="Who may use a server of the team: add, list, change, remove.", no_args_is_help=True)
keys_app = typer.Typer(help="API keys of users: add, list, revoke.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="USER", help="Name of the user.", show_default=False)]
_Groups = Annotated[list[str] | None, typer.Option("--group", "-g", help="A group that they are in; again for more.")]
_Scopes = Annotated[
    list[str] | None, typer.Option("--scope", help=f"What they may do, of {', '.join(SCOPES)}; again for more.")
]


@users_app.command("add")
def add_user(
    name: _Name,
    team: TeamFolder = Path(),
    tenant: Annotated[str | None, typer.Option(help="Their organisation, where several share the team.")] = None,
    group: _Groups = None,
    scope: _Scopes = None,
    no_password: Annotated[bool, typer.Option("--no-password", help="They have keys only, and no page.")] = False,
    json: AsJson = False,
) -> None:
    """Let somebody in. The password is asked for, or read from standard input."""
    plan = blueprint_of(team)
    with _accounts(plan) as accounts:
        first = not accounts
        password = None if no_password else _new_password()
        added = accounts.add(name, password, tenant=tenant, groups=group or (), scopes=scope or USUAL)
    note_command(plan, "users add", user=name, tenant=tenant, groups=",".join(added.groups))
    _warn_of(plan, added)
    if json:
        print_json(added)
        return
    print(f"added: {_described(added)}")
    if first:
        print("From now on the server lets nobody in who is no user.")
    next_lines(Console(stderr=True), command_line("keys", "add", name, team=team), command_line("serve", team=team))


@users_app.command("list")
def list_users(team: TeamFolder = Path(), json: AsJson = False) -> None:
    """All users."""
    with _accounts(blueprint_of(team)) as accounts:
        known = accounts.list()
    if json:
        print_json(known)
        return
    table = Table("user", "tenant", "groups", "scopes", "password", box=None)
    for one in known:
        password = "yes" if one.has_password else "no"
        table.add_row(one.name, one.tenant or "", ", ".join(one.groups), ", ".join(one.scopes), password)
    Console().print(table if known else "no users: the server is for this machine alone")


@users_app.command("change")
def change_user(
    name: _Name,
    team: TeamFolder = Path(),
    group: _Groups = None,
    scope: _Scopes = None,
    no_groups: Annotated[bool, typer.Option("--no-groups", help="They are in no group any more.")] = False,
    json: AsJson = False,
) -> None:
    """Put somebody into these groups instead, or let them do this instead. It counts at once."""
    if no_groups and group:
        raise InputError("--no-groups and --group exclude each other")
    plan = blueprint_of(team)
    with _accounts(plan) as accounts:
        changed = accounts.change(name, groups=() if no_groups else group, scopes=scope)
    groups, scopes = ",".join(changed.groups), ",".join(changed.scopes)
    note_command(plan, "users change", user=name, groups=groups, scopes=scopes)
    _warn_of(plan, changed)
    if json:
        print_json(changed)
    else:
        print(f"changed: {_described(changed)}")


@users_app.command("password")
def set_password(name: _Name, team: TeamFolder = Path()) -> None:
    """Give somebody another password, asked for or read from standard input; who is signed in is signed out."""
    plan = blueprint_of(team)
    with _accounts(plan) as accounts:
        accounts.get(name)
        accounts.set_password(name, _new_password())
    note_command(plan, "users password", user=name)
    print(f"'{name}' has a new password")


@users_app.command("remove")
def remove_user(name: _Name, team: TeamFolder = Path(), yes: Yes = False, json: AsJson = False) -> None:
    """Let somebody in no more, with any of their keys. What the team keeps of them: `metier memory erase`."""
    plan = blueprint_of(team)
    with _accounts(plan) as accounts:
        accounts.get(name)
        if not yes:
            typer.confirm(f"Remove the user '{name}' and their keys?", abort=True, err=True)
        removed = accounts.remove(name)
        last = not accounts
    note_command(plan, "users remove", user=name)
    if json:
        print_json(removed)
        return
    print(f"removed: {name}")
    if last:
        print("That was the last one: a server that starts now is for this machine alone.")


@keys_app.command("add")
def add_key(
    name: _Name,
    team: TeamFolder = Path(),
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    scope: _Scopes = None,
    days: Annotated[float | None, typer.Option(min=0, help="Days after which it ends; left out: never.")] = None,
    json: AsJson = False,
) -> None:
    """A new key for a user. It is shown this once: only its hash is kept."""
    plan = blueprint_of(team)
    with _accounts(plan) as accounts:
        known, key = accounts.add_key(name, label=label, scopes=scope or ("ask", "read"), days=days)
    note_command(plan, "keys add", key=known.id, user=name, scopes=",".join(known.scopes))
    if json:
        print_json({**known.model_dump(), "key": key})
        return
    print(key)
    Console(stderr=True).print(f"[dim]{known.id}: {', '.join(known.scopes)}; it is shown this once[/]", highlight=False)


@keys_app.command("list")
def list_keys(
    team: TeamFolder = Path(),
    user: Annotated[str | None, typer.Option("--user", "-u", help="Only of this user.")] = None,
    json: AsJson = False,
) -> None:
    """What is known of the keys; the keys themselves nobody has."""
    with _accounts(blueprint_of(team)) as accounts:
        known = accounts.keys(user)
    if json:
        print_json(known)
        return
    table = Table("key", "user", "for", "scopes", "used", "ends", box=None)
    for key in known:
        table.add_row(key.id, key.user, key.label, ", ".join(key.scopes), _day(key.used), _day(key.expires))
    Console().print(table if known else "no keys")


@keys_app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As `list` names it.", show_default=False)],
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """Let nobody in with a key any more; at once."""
    plan = blueprint_of(team)
    with _accounts(plan) as accounts:
        revoked = accounts.revoke(key)
    note_command(plan, "keys revoke", key=revoked.id, user=revoked.user)
    if json:
        print_json(revoked)
    else:
        print(f"revoked: {revoked.id}")


@contextmanager
def _accounts(plan: Blueprint) -> Iterator[Accounts]:
    with closing(open_accounts(plan)) as accounts:
        yield accounts


def _new_password() -> str:
    if sys.stdin.isatty():
        return typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return sys.stdin.readline().rstrip("\r\n")


def _described(account: Account) -> str:
    groups = f" in {', '.join(account.groups)}" if account.groups else ""
    return f"{account.name}{groups}, may {', '.join(account.scopes)}"


def _warn_of(plan: Blueprint, account: Account) -> None:
    """A group that no card names opens nothing: it is probably misspelt."""
    named = {group for rule in plan.card.access.values() for group in rule}
    named |= {group for card in plan.specialists.values() for group in card.groups}
    for group in account.groups:
        if group not in named:
            known = ", ".join(sorted(named)) or "none"
            Console(stderr=True).print(f"[yellow]no card names the group '{group}'[/]; they name: {known}")


def _day(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat() if seconds else ""
