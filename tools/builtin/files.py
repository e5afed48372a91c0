"""Files inside one folder: list, read, and (when the card says so) write. No path leads out, not even by symlink."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from langchain_core.tools import BaseTool

from ...core.errors import ToolError
from ...core.files import write_atomic
from ..tool import ToolContext, inside, shorten_text, tool

_MAX_BYTES = 1_000_000


def files(
    context: ToolContext, *, folder: str = ".", write: bool = False, sensitive: bool = True, untrusted: bool = True
) -> list[BaseTool]:
    """The tools `list_files` and `read_file`, and `write_file` when `write` is true.

    Args:
        folder: the only folder they see, inside the specialist's.
        write: also offer writing.
        sensitive: whether the files must not leave.
        untrusted: whether strangers may have written them.
    """
    root = context.path(folder)

    @tool(effect="read", untrusted_output=untrusted, sensitive=False)
    def list_files(folder: str = ".") -> str:
        """The files and folders inside a folder, a path relative to the root; '.' is the root."""
        return shorten_text("\n".join(_names(root, folder)) or "(empty)")

    @tool(effect="read", untrusted_output=untrusted, sensitive=sensitive)
    def read_file(path: str) -> str:
        """The text of a file.

        Args:
            path: relative to the root.
        """
        return shorten_text(read_text(root, path), limit=8000)

    @tool(effect="write", untrusted_output=False, sensitive=False)
    def write_file(path: str, text: str) -> str:
        """Write a text file, replacing what was there.

        Args:
            path: relative to the root.
        """
        _write(root, path, text)
        return f"wrote {len(text)} characters to {path}"

    return [list_files, read_file, *([write_file] if write else [])]


def _names(root: Path, folder: str) -> list[str]:
    place = inside(root, folder)
    if not place.is_dir():
        raise ToolError(f"no folder '{folder}'")
    return sorted(f"{p.name}/" if p.is_dir() else p.name for p in place.iterdir() if not p.name.startswith("."))


def _write(root: Path, path: str, text: str) -> None:
    place = inside(root, path)
    if place.is_dir() or place == root.resolve():
        raise ToolError(f"'{path}' is a folder")
    if len(text.encode(errors="replace")) > _MAX_BYTES:
        raise ToolError(f"the text is longer than {_MAX_BYTES} bytes")
    write_atomic(place, text)


def read_text(root: Path, path: str) -> str:
    """The text of a regular file inside the root.

    Raises:
        ToolError: it is outside, missing, too large, not a regular file (a pipe would wait for ever) or not text.
    """
    place = inside(root, path)
    if place.is_dir():
        raise ToolError(f"'{path}' is a folder")
    try:
        # The path has no symlink left; NOFOLLOW refuses one that is put there between the check and this line.
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ToolError(f"cannot read '{path}': {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ToolError(f"'{path}' is not a file")
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ToolError(f"'{path}' is larger than {_MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ToolError(f"'{path}' is not UTF-8 text") from None
    if "\0" in text:
        raise ToolError(f"'{path}' is not text")
    return text
