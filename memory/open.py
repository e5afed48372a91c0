"""Opens what a team remembers: its threads and its facts, at the addresses in its card."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.embedding import Embedder
from ..core.errors import ConfigError, MissingExtra, unknown
from .facts import Facts
from .store import FactStore, SqliteFacts
from .threads import SqliteThreads, ThreadSaver


def open_checkpoints(kind: str, folder: Path) -> ThreadSaver | None:
    """Where the threads of a team are saved, so that a conversation survives the process.

    Args:
        kind: `sqlite` keeps `folder/threads.sqlite`, `postgresql://…` uses that database, `env:NAME` reads the
            address from a variable (so that no password stands in a card), `none` keeps nothing.
        folder: Where the team keeps its state.

    Raises:
        ConfigError: there is no such kind, or the variable is not set.
        MissingExtra: PostgreSQL without the extra `postgres`.
        StateError: the store cannot be opened.
    """
    address = _address(kind, "checkpoint store", "memory.checkpoints")
    if address == "none":
        return None
    if address == "sqlite":
        return SqliteThreads(folder / "threads.sqlite")
    try:
        from .postgres import PostgresThreads
    except ImportError:
        raise MissingExtra("langgraph-checkpoint-postgres", "postgres") from None
    return PostgresThreads(address)


def open_facts(kind: str, folder: Path, embedder: Embedder | None = None, *, days: float | None = None) -> Facts | None:
    """What a team knows of its users.

    Args:
        kind: As for `open_checkpoints`; `sqlite` keeps `folder/facts.sqlite`.
        folder: Where the team keeps its state.
        embedder: None for what only reads, writes and deletes; recalling needs one.
        days: How long a fact is kept after it was said last; None is for ever.

    Raises:
        ConfigError: there is no such kind, or the variable is not set.
        MissingExtra: PostgreSQL without the extra `postgres`.
        StateError: the database cannot be opened.
    """
    address = _address(kind, "fact store", "memory.facts")
    if address == "none":
        return None
    if address == "sqlite":
        return Facts(FactStore(SqliteFacts(folder / "facts.sqlite"), embedder, days=days))
    try:
        from .postgres import PostgresFacts
    except ImportError:
        raise MissingExtra("langgraph-checkpoint-postgres", "postgres") from None
    return Facts(FactStore(PostgresFacts(address), embedder, days=days))


def _address(kind: str, what: str, field: str) -> str:
    """`none`, `sqlite`, or the address of a PostgreSQL database."""
    address = kind
    if kind.startswith("env:"):
        name = kind.removeprefix("env:")
        address = os.environ.get(name, "")
        if not address:
            raise ConfigError(f"the variable {name} is not set", field=field, hint=f"export {name}=…")
    if address not in ("sqlite", "none") and not address.startswith(("postgresql://", "postgres://")):
        kinds = ["sqlite", "postgresql://…", "env:NAME", "none"]
        raise ConfigError(unknown(what, address, kinds), field=field)
    return address
