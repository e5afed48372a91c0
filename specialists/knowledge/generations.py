"""A folder whose content is replaced as a whole, with a draft that survives being killed.

store/current      name of the generation that is valid, one line
store/g000004/     that generation; never changed once it is current
store/draft/       the next one, while (or after) somebody works on it
store/lock         held by the one process that builds
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ...core.errors import KnowledgeError
from ...core.files import write_atomic

_POINTER = "current"


def current(store: Path) -> Path | None:
    """The folder of the valid generation; None when nothing was ever finished here."""
    try:
        name = (store / _POINTER).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return store / name if name and (store / name).is_dir() else None


def draft(store: Path) -> Path:
    """The folder in which the next generation grows; it may hold what a killed build left."""
    folder = store / "draft"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def publish(store: Path) -> Path:
    """Make the draft the valid generation, in one step, and clear away what came before."""
    before = current(store)
    number = int(before.name[1:]) + 1 if before else 1
    folder = store / f"g{number:06d}"
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(store / "draft", folder)
    write_atomic(store / _POINTER, folder.name + "\n")
    for old in store.glob("g[0-9]*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def discard(store: Path) -> None:
    """Throw the draft away."""
    shutil.rmtree(store / "draft", ignore_errors=True)


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Only one process at a time builds here; the lock ends with the process, however it ends.

    Raises:
        KnowledgeError: another process is at work.
    """
    store.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise KnowledgeError(f"another process is building {store}", hint="wait until it is done") from error
    try:
        yield
    finally:
        lock.release()
