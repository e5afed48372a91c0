"""Which files make up a specialist's knowledge."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import KnowledgeError
from .readers import READERS


@dataclass
class Found:
    """Files to read, and those left aside with the reason. Keys are source names: paths relative to the root."""

    files: dict[str, Path] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def scan(sources: Sequence[Path], root: Path | None = None, kinds: Collection[str] = READERS) -> Found:
    """List the documents in files and folders (recursively), in a stable order.

    Hidden files and folders, links and unknown kinds of file are left aside. A source name is the path relative to
    `root`; without a root, relative to the folder (or the file's folder) that was given. `kinds` are the suffixes that
    can be read.

    Raises:
        KnowledgeError: a given path does not exist.
    """
    found = Found()
    for given in sources:
        path = given.resolve()
        if not path.exists():
            raise KnowledgeError(f"no such document or folder: {given}", hint="correct `sources` in the card")
        base = path if path.is_dir() else path.parent
        base = root.resolve() if root is not None and path.is_relative_to(root.resolve()) else base
        for file, reason in _walk(path) if path.is_dir() else iter([(path, "")]):
            name = file.relative_to(base).as_posix()
            if reason or file.suffix.lower() not in kinds:
                found.skipped[name] = reason or f"unknown kind of file '{file.suffix or file.name}'"
            elif found.files.setdefault(name, file) != file:
                found.skipped[f"{given}: {name}"] = f"another source holds a document called '{name}'"
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file with the reason to leave it aside, or an empty reason."""
    for here, folders, files in os.walk(folder):
        for name in sorted(folders):
            path = Path(here, name)
            if name.startswith(".") or path.is_symlink():
                folders.remove(name)
                yield path, "a hidden folder" if name.startswith(".") else "a link to a folder"
        folders.sort()
        for name in sorted(files):
            path = Path(here, name)
            yield path, "a hidden file" if name.startswith(".") else _link(path)


def _link(path: Path) -> str:
    return f"a link to {os.readlink(path)}" if path.is_symlink() else "" if path.is_file() else "not a plain file"
