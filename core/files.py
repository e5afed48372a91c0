"""Files that are either whole or not there (write beside, then rename), and files of one JSON object a line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, overload
from uuid import uuid4

from pydantic import ValidationError

from .errors import ConfigError, StateError

_T = TypeVar("_T")


def write_atomic(path: Path, data: bytes | str, *, lasting: bool = True) -> None:
    """Replace `path` by `data` in one step. A crash or a full disk leaves the old file as it was.

    Args:
        path: The file.
        data: All of it.
        lasting: It must survive a power cut, which takes the disk a moment; else a file that is not whole may be left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """A fresh folder to build into; it takes the place of `path` only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield fresh
        old = fresh.with_suffix(".old")
        if path.exists():
            os.replace(path, old)
        os.replace(fresh, path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Where to write what is too large to be held whole; it takes the place of `path` only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def writable(folder: Path) -> bool:
    """Whether files can be put into a folder, which is made if need be; not on a disk that is read-only.

    Raises:
        OSError: for another reason, such as a full disk.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return False
        raise


@contextmanager
def saying_full(what: str) -> Iterator[None]:
    """Inside, a full disk is an error in words; also around functions, as a decorator.

    Args:
        what: What could not be done, as in `the answer could not be saved`.

    Raises:
        StateError: there is no room left.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) if isinstance(error, OSError) else "is full" in str(error)
        if not full:
            raise
        raise StateError(
            f"the disk is full: {what}", hint="make room and try again; what was there is whole"
        ) from error


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@overload
def read_jsonl(path: Path, *, tolerant: bool = ...) -> list[dict[str, Any]]: ...


@overload
def read_jsonl(path: Path, make: Callable[[dict[str, Any]], _T], *, tolerant: bool = ...) -> list[_T]: ...


def read_jsonl(path: Path, make: Callable[[dict[str, Any]], Any] = dict, *, tolerant: bool = False) -> list[Any]:
    """The objects of a `.jsonl` file. Only a newline ends a line, and blank lines do not count.

    Args:
        make: What becomes of an object; may raise `ConfigError` or `ValueError` (as pydantic does) when it is wrong.
        tolerant: Leave out lines that are wrong: a kill may have cut one off, or an older version have written it.

    Raises:
        ConfigError: the file is missing, or a line is wrong; names file and line.
    """
    if not path.is_file():
        raise ConfigError("no such file", file=path)
    items = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            items.append(make(_object(line)))
        except (ConfigError, ValueError) as error:
            if not tolerant:
                hint = error.hint if isinstance(error, ConfigError) else None
                raise ConfigError(_reason(error), file=path, line=number, hint=hint) from error
    return items


def _object(line: bytes) -> dict[str, Any]:
    value = json.loads(line.decode())
    if not isinstance(value, dict):
        raise ConfigError(f"expected an object, found {type(value).__name__}")
    return value


def _reason(error: ConfigError | ValueError) -> str:
    """What is wrong with a line."""
    match error:
        case ConfigError():
            return error.message
        case json.JSONDecodeError():
            return f"not JSON: {error.msg}"
        case UnicodeDecodeError():
            return "not UTF-8"
        case ValidationError():
            problem = error.errors()[0]
            return ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"])))
        case _:
            return str(error)
