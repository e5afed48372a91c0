"""Where threads are saved, so that a conversation survives the process."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from ..core.errors import ConfigError, StateError, unknown


def open_checkpoints(kind: str, folder: Path) -> BaseCheckpointSaver | None:
    """The checkpointer of that kind: `sqlite` keeps `folder/threads.sqlite`, `none` keeps nothing.

    Raises:
        ConfigError: there is no such kind.
        StateError: the file is not a database.
    """
    if kind == "none":
        return None
    if kind != "sqlite":
        raise ConfigError(unknown("checkpoint store", kind, ["sqlite", "none"]), field="memory.checkpoints")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "threads.sqlite"
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    try:
        # WAL with NORMAL survives a killed process; only a power cut can cost the last turn.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        saver = SqliteSaver(connection)
        saver.setup()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StateError(f"{path}: {error}", hint="move that file away; a new one is made") from error
    return saver
