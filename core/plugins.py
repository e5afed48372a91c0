"""Parts that users bring: named `module:attribute` in cards and team files, beside the built-in names."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import reduce
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from .errors import ConfigError, MetierError, unknown

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_lock = threading.RLock()
_SHOWN = 20
"""Names of a module that an error lists when none is like the one that was asked for."""


def load(
    name: str,
    kind: str,
    built_in: Mapping[str, Any] = _NOTHING,
    *,
    field: str | None = None,
    hint: str = "",
    folders: Iterable[Path] = (),
) -> Any:
    """What `name` means: a name in `built_in`, or the attribute of a module (`module:attribute`).

    Args:
        kind: What it is wanted for, in the words of errors: `style`, `tool`, `vector store` …
        built_in: Name to what it means; a text among the meanings is itself a `module:attribute`, loaded only now.
        field: The field of the card that holds the name, for errors.
        hint: What else a name may be, for errors.
        folders: Of the card and the team. A module that lies there comes before an installed one. It is imported under
            a name of its own, so that two teams may each have a `tools.py`; it may import what lies beside it.

    Raises:
        ConfigError: there is no such name, module or attribute, or the module cannot be imported.
        MissingExtra: a built-in part whose library is not installed.
    """
    meaning = built_in.get(name, name)
    if not isinstance(meaning, str):
        return meaning
    path, colon, attribute = meaning.partition(":")
    if not (colon and path and attribute) or path.startswith("."):
        problem = unknown(kind, name, built_in) if built_in else f"{kind} '{name}' is not of the form module:attribute"
        own = "your own: module:attribute, of an installed module or of a file beside the card"
        raise ConfigError(problem, field=field, hint=f"{hint}; {own}" if hint else own)
    try:
        module = _module(path, [folder.resolve() for folder in folders])
    except MetierError:
        raise
    except (Exception, SystemExit) as error:  # a module of the user's may raise anything
        raise ConfigError(
            f"{kind} '{name}' cannot be loaded: {type(error).__name__}: {error}", field=field, hint=_mend(path, error)
        ) from error
    try:
        return reduce(getattr, attribute.split("."), module)
    except AttributeError:
        there = [public for public in vars(module) if not public.startswith("_")]
        problem = unknown(f"name in {path}", attribute, get_close_matches(attribute, there) or there[:_SHOWN])
        raise ConfigError(f"{kind} '{name}' cannot be loaded: {problem}", field=field) from None


def _mend(path: str, error: BaseException) -> str | None:
    """The way out, where the module itself is what is missing."""
    if not isinstance(error, ModuleNotFoundError) or not f"{path}.".startswith(f"{error.name}."):
        return None
    package = path.partition(".")[0]
    return f"pip install {package.replace('_', '-')}, or put {package}.py beside the card or the team file"


def _module(path: str, folders: Iterable[Path]) -> ModuleType:
    for folder in folders:
        place = folder.joinpath(*path.split("."))
        if place.with_suffix(".py").is_file() or (place / "__init__.py").is_file():
            with _lock, _beside(folder) as package:
                return import_module(f"{package}.{path}")
    return import_module(path)


@contextmanager
def _beside(folder: Path) -> Iterator[str]:
    """The package that stands for a folder. Inside the block its modules also find one another without a dot.

    Installed modules win over such neighbours, and the neighbours keep the package's name afterwards.
    """
    package = f"_metier_beside_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        sys.modules[package] = ModuleType(package, f"Modules in {folder}.")
        sys.modules[package].__path__ = [str(folder)]
    known = set(sys.modules)
    sys.path.append(str(folder))
    invalidate_caches()
    try:
        yield package
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - known:
            place = getattr(sys.modules[name], "__file__", None)
            if not name.startswith(f"{package}.") and place and Path(place).is_relative_to(folder):
                sys.modules.setdefault(f"{package}.{name}", sys.modules[name])
                del sys.modules[name]
