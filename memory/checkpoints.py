"""Where threads are saved, so that a conversation survives the process."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import ConfigError, MissingExtra, unknown
from .address import POSTGRES, address
from .saver import ThreadSaver
from .sqlite import SqliteThreads


def open_checkpoints(kind: str, folder: Path) -> ThreadSaver | None:
    """The checkpointer of that kind.

    Args:
        kind: `sqlite` keeps `folder/threads.sqlite`, `postgresql://…` uses that database, `env:NAME` reads the
            address from a variable, `none` keeps nothing.
        folder: Where the team keeps its state.

    Raises:
        ConfigError: there is no such kind, or the variable is not set.
        MissingExtra: PostgreSQL without the extra `postgres`.
        StateError: the store cannot be opened.
    """
    kind = address(kind, "memory.checkpoints")
    if kind == "none":
        return None
    if kind == "sqlite":
        return SqliteThreads(folder / "threads.sqlite")
    if not kind.startswith(POSTGRES):
        kinds = ["sqlite", "postgresql://…", "env:NAME", "none"]
        raise ConfigError(unknown("checkpoint store", kind, kinds), field="memory.checkpoints")
    try:
        from .postgres import PostgresThreads
    except ImportError:
        raise MissingExtra("langgraph-checkpoint-postgres", "postgres") from None
    return PostgresThreads(kind)
