"""The audit log: who changed what, and who was turned away. Each entry holds the hash of the one before, so that none
can be changed, taken out or put in without `metier audit verify` telling. Keys, questions and answers are not in it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field
from rich.console import Console
from rich.markup import escape

from ..core.errors import StateError
from ..core.sqlite import open_sqlite
from ..core.types import Value
from .ask import visible
from .options import AsJson, TeamFolder, blueprint_of, print_json

app = typer.Typer(help="Who changed what on the server, and who was turned away.", no_args_is_help=True)

AUDIT_FILE = "audit.sqlite"
_FIRST = "0" * 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL, hash TEXT NOT NULL
);
"""

_LAST = "SELECT number, hash FROM entries ORDER BY number DESC LIMIT 1"


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
        path: The file.

    Raises:
        StateError: it is not a database.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock, database = path, threading.Lock(), None
        try:
            database = open_sqlite(path, isolation_level=None)
            database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            if database:
                database.close()
            raise StateError(f"{path}: {error}") from error
        self._database = database

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
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                last = self._database.execute(_LAST).fetchone()
                number, previous = last or (0, _FIRST)
                entry = AuditEntry(
                    number=number + 1, at=at, action=action, user=user, tenant=tenant, key=key, status=status,
                    about=dict(about or {}), previous=previous,
                )  # fmt: skip
                row = (entry.number, _canonical(entry), _hash(entry))
                self._database.execute("INSERT INTO entries VALUES (?, ?, ?)", row)
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise

    def entries(self, last: int | None = None) -> list[AuditEntry]:
        """The entries, oldest first; only the last ones where a number is given."""
        query = "SELECT entry, hash FROM entries ORDER BY number DESC LIMIT ?"
        with self._lock, closing(self._database.execute(query, (-1 if last is None else last,))) as cursor:
            rows = cursor.fetchall()
        return [AuditEntry.model_validate({**json.loads(entry), "hash": hash}) for entry, hash in reversed(rows)]

    def verify(self) -> AuditReport:
        """Look whether every entry is there, unchanged and in its place."""
        with self._lock:
            rows = self._database.execute("SELECT number, entry, hash FROM entries ORDER BY number").fetchall()
            ever = self._database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
        broken = next(_faults(rows), None)
        if broken is None and ever and ever[0] != len(rows):
            broken = f"the last entries are gone: there were {ever[0]}, there are {len(rows)}"
        return AuditReport(entries=len(rows), head=rows[-1][2] if rows else _FIRST, broken=broken)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


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


def note_command(state: Path, action: str, **about: Any) -> None:
    """Keep what was done on the command line.

    Args:
        state: The team's folder of state.
        action: The words of the command.
        about: What it was done to.
    """
    with closing(AuditLog(state / AUDIT_FILE)) as log:
        log.add(action, about={name: str(value) for name, value in about.items() if value})


# The commands.


@app.command()
def show(
    team: TeamFolder = Path(),
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many entries.")] = 50,
    json: AsJson = False,
) -> None:
    """The last entries, oldest first."""
    with closing(AuditLog(blueprint_of(team).state / AUDIT_FILE)) as log:
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
    with closing(AuditLog(blueprint_of(team).state / AUDIT_FILE)) as log:
        report = log.verify()
        if report.broken is None and head and head not in {_FIRST, *(entry.hash for entry in log.entries())}:
            report = report.model_copy(update={"broken": "no entry has the hash that was noted: it is another log"})
    if json:
        print_json(report)
    elif report.broken is None:
        print(f"whole: {report.entries} entries, head {report.head}")
    if report.broken is not None:
        raise StateError(f"the audit log is broken: {report.broken}")
