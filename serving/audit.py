"""The audit log: who changed what, and who was turned away. Each entry holds the hash of the one before, so that none
can be changed, taken out or put in without `metier audit verify` telling. Keys, questions and answers are not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field
from rich.console import Console
from rich.markup import escape

from ..core.database import StateDatabase, open_state
from ..core.errors import StateError
from ..core.types import Value
from .ask import visible
from .options import AsJson, TeamFolder, blueprint_of, print_json

if TYPE_CHECKING:
    from ..agents.cards import Blueprint

app = typer.Typer(help="Who changed what on the server, and who was turned away.", no_args_is_help=True)

AUDIT_FILE = "audit.sqlite"
_FIRST = "0" * 64
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS audit_entries (number INTEGER PRIMARY KEY, entry TEXT NOT NULL, hash TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS audit_head (one INTEGER PRIMARY KEY, number INTEGER NOT NULL, hash TEXT NOT NULL)",
)
"""For SQLite and PostgreSQL."""
_TABLES = ("audit_entries", "audit_head")


class AuditEntry(Value):
    """Something that was done or refused."""

    number: int
    at: str
    """ISO 8601, UTC."""
    action: str
    """`PUT /api/documents/{specialist}/{name}`, `users add` …"""
    user: str | None = None
    tenant: str | None = None
    key: str = ""
    """Names the key or session; it is not the key."""
    status: int = 0
    """HTTP's; 0 on the command line."""
    about: dict[str, str] = Field(default_factory=dict)
    """What it was done to."""
    previous: str
    """Hash of the entry before."""
    hash: str = ""


class AuditReport(Value):
    """Whether the log is whole."""

    entries: int
    head: str
    """Hash of the last entry. Noted elsewhere, it also tells if the whole file was written anew."""
    broken: str | None = None
    """What is wrong first; None: nothing is."""


class AuditLog:
    """The log of one team. Safe to use from several threads and processes.

    Args:
        place: A SQLite file, or a database with the tables.

    Raises:
        StateError: the file is not a database.
    """

    def __init__(self, place: Path | StateDatabase) -> None:
        self._database = open_state(place, ";".join(_SCHEMA))

    def add(
        self,
        action: str,
        *,
        user: str | None = None,
        tenant: str | None = None,
        key: str = "",
        status: int = 0,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Keep that something was done or refused."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._database.transaction() as execute:
            execute("INSERT INTO audit_head VALUES (1, 0, ?) ON CONFLICT (one) DO NOTHING", (_FIRST,))
            # Whoever has counted on has the row until all of this is done.
            ((number, previous),) = execute("UPDATE audit_head SET number = number + 1 RETURNING number, hash")
            entry = AuditEntry(
                number=number, at=at, action=action, user=user, tenant=tenant, key=key, status=status,
                about=dict(about or {}), previous=previous,
            )  # fmt: skip
            execute("INSERT INTO audit_entries VALUES (?, ?, ?)", (number, _canonical(entry), _hash(entry)))
            execute("UPDATE audit_head SET hash = ?", (_hash(entry),))

    def entries(self, last: int | None = None) -> list[AuditEntry]:
        """The entries, oldest first; only the last ones where a number is given."""
        least = "0" if last is None else "(SELECT max(number) FROM audit_entries) - ?"
        query = f"SELECT entry, hash FROM audit_entries WHERE number > {least} ORDER BY number"
        rows = self._database.run(query, () if last is None else (last,))
        return [AuditEntry.model_validate({**json.loads(entry), "hash": hash}) for entry, hash in rows]

    def verify(self) -> AuditReport:
        """Look whether every entry is there, unchanged and in its place."""
        rows: list[Any] = self._database.run("SELECT number, entry, hash FROM audit_entries ORDER BY number")
        ((ever, head),) = self._database.run("SELECT number, hash FROM audit_head") or [(0, _FIRST)]
        broken = next(_faults(rows), None)
        if broken is None and ever != len(rows):
            broken = f"the last entries are gone: there were {ever}, there are {len(rows)}"
        last = rows[-1][2] if rows else _FIRST
        if broken is None and last != head:
            broken = "the last entry is another one"
        return AuditReport(entries=len(rows), head=last, broken=broken)

    def close(self) -> None:
        """Close the file or the connection."""
        self._database.close()


def open_audit(plan: Blueprint) -> AuditLog:
    """The log of a team: a file beside it, or where its threads are when that is PostgreSQL.

    Raises as `open_accounts` does.
    """
    from ..memory.open import open_tables

    plan.state.mkdir(parents=True, exist_ok=True)
    return AuditLog(open_tables(plan.card.memory.checkpoints, plan.state / AUDIT_FILE, _SCHEMA, _TABLES))


def _faults(rows: list[tuple[int, str, str]]) -> Iterator[str]:
    previous = _FIRST
    for place, (number, text, hash) in enumerate(rows, 1):
        if number != place:
            yield f"entry {place} is gone"
        try:
            entry = AuditEntry.model_validate_json(text)
        except ValueError:
            yield f"entry {number} cannot be read"
            return
        if entry.number != number or _hash(entry) != hash or _canonical(entry) != text:
            yield f"entry {number} was changed"
        if entry.previous != previous:
            yield f"what stood before entry {number} was changed"
        previous = hash


def _canonical(entry: AuditEntry) -> str:
    return json.dumps(entry.model_dump(exclude={"hash"}), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _hash(entry: AuditEntry) -> str:
    return hashlib.sha256(_canonical(entry).encode("utf-8", "surrogatepass")).hexdigest()


def note_command(plan: Blueprint, action: str, **about: Any) -> None:
    """Keep what was done on the command line.

    Args:
        plan: Whose log it is.
        action: The words of the command.
        about: What it was done to.
    """
    with closing(open_audit(plan)) as log:
        log.add(action, about={name: str(value) for name, value in about.items() if value})


# The commands.


@app.command()
def show(
    team: TeamFolder = Path(),
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many entries.")] = 50,
    json: AsJson = False,
) -> None:
    """The last entries, oldest first."""
    with closing(open_audit(blueprint_of(team))) as log:
        entries = log.entries(last)
    if json:
        print_json(entries)
        return
    console = Console(soft_wrap=True, highlight=False)
    for entry in entries:
        who = entry.user or "command line" if not entry.status else entry.user or "nobody"
        what = " ".join(f"{name}={value}" for name, value in entry.about.items())
        status = f" {entry.status}" if entry.status else ""
        said = escape(visible(f"{who} {entry.action}{status} {what}"))
        console.print(f"[dim]{entry.number} {entry.at[:19]}[/] {said}")
    if not entries:
        console.print("nothing yet")


@app.command()
def verify(
    team: TeamFolder = Path(),
    head: Annotated[str | None, typer.Option(help="A hash that was noted earlier: is it still there?")] = None,
    json: AsJson = False,
) -> None:
    """Is the log whole? Fails where an entry was changed, taken out or put in."""
    with closing(open_audit(blueprint_of(team))) as log:
        report = log.verify()
        if report.broken is None and head and head not in {_FIRST, *(entry.hash for entry in log.entries())}:
            report = report.model_copy(update={"broken": "no entry has the hash that was noted: it is another log"})
    if json:
        print_json(report)
    elif report.broken is None:
        print(f"whole: {report.entries} entries, head {report.head}")
    if report.broken is not None:
        raise StateError(f"the audit log is broken: {report.broken}")
