"""Engines: what runs a language model. `open_engine` is the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import EngineError
from ...core.models import LocalModel
from ...core.plugins import load
from .engine import Engine, Sampling
from .speed import LOCAL, ranked_engines

__all__ = ["ENGINES", "Engine", "Sampling", "open_engine"]

AUTO = "auto"

ENGINES = {
    **LOCAL,
    "transformers": "metier.specialists.engines.transformers:TransformersEngine",
    "remote": "metier.specialists.engines.remote:RemoteEngine",
}
"""Name to class: called with the base and the adapters. A line here makes an engine known to every team file."""


def open_engine(
    spec: str,
    base: LocalModel | Path | str,
    adapters: Mapping[str, Path] | None = None,
    *,
    folders: Sequence[Path] = (),
    **options: Any,
) -> Engine:
    """An engine by its name in `ENGINES`, by a server's address (`http://…/v1`), or by `package.module:Class`.

    `auto` is the fastest engine in this process that can run the base with these adapters.

    Args:
        base: A pulled model or its GGUF file; for a server, the name under which it serves the model.
        adapters: Name to adapter, as `adapters.loadable` gives it for the engine; for a server, the folders as it sees
            them, which it is to load. It may have others of its own.
        folders: Where a module of one's own may lie besides those that are installed.
        options: For the engine: `context`, `slots`, `threads`, `api_key` …

    Raises:
        ConfigError: No such engine.
        EngineError: It cannot be opened.
        MissingExtra: The engine needs a library that is not installed.
    """
    if spec.startswith(("http://", "https://")):
        return load("remote", "engine", ENGINES)(spec, base if isinstance(base, str) else None, adapters, **options)
    if spec == AUTO:
        return _open_fastest(base, adapters, options)
    gguf = base.files["gguf"] if isinstance(base, LocalModel) else Path(base)
    local = {AUTO: "", **{name: place for name, place in ENGINES.items() if name != "remote"}}
    address = "a server's address: http://127.0.0.1:8000/v1"
    return load(spec, "engine", local, field="engine", hint=address, folders=folders)(gguf, adapters or {}, **options)


def _open_fastest(
    base: LocalModel | Path | str, adapters: Mapping[str, Path] | None, options: dict[str, Any]
) -> Engine:
    known = base if isinstance(base, LocalModel) else None
    *first, last = ranked_engines(known)
    for name in first:
        try:
            return open_engine(name, base, adapters, **options)
        except EngineError:  # This one cannot run the base, or not these adapters beside it.
            continue
    return open_engine(last, base, adapters, **options)
