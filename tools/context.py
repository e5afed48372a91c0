"""What a tool's factory is given: the places and people it may know. Plain data, made by whoever builds a team."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ToolError
from ..core.types import Passage

MAX_PATH = 1000

Search = Callable[[str], Sequence[Passage]]
"""Searches a specialist's own knowledge."""


@dataclass(frozen=True)
class ToolContext:
    """Where a specialist's tools may look."""

    root: Path
    """The specialist's folder: paths in its card are relative to it, and none leads out of it."""
    output: Path | None = None
    """Where tools put files they make (plots); left out: `output` inside the root."""
    search: Search | None = None
    """The specialist's knowledge, if it has any."""

    def path(self, name: str) -> Path:
        """A path inside the root.

        Raises:
            ToolError: it would lead out of the root, by `..`, as an absolute path or through a symlink.
        """
        return inside(self.root, name)


def inside(root: Path, name: str) -> Path:
    """`root / name` with every symlink followed, or an error when that is not inside the root.

    Raises:
        ToolError: the path leads out, or cannot be a path at all.
    """
    base = root.resolve()
    if len(name) > MAX_PATH:
        raise ToolError(f"a path of {len(name)} characters")
    try:
        found = (base / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ToolError(f"'{name!r:.100}' is not a path: {error}") from None
    if not found.is_relative_to(base):
        raise ToolError(f"'{name}' is outside the folder of this tool", hint="use a path relative to that folder")
    return found
