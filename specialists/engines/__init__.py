"""Engines: what runs a language model. `open_engine` is the door."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.errors import EngineError, unknown
from ...core.models import LocalModel
from .engine import Engine, Sampling

__all__ = ["ENGINES", "Engine", "Sampling", "open_engine"]

ENGINES = {
    "llama": "metier.specialists.engines.llama:LlamaEngine",
    "transformers": "metier.specialists.engines.transformers:TransformersEngine",
    "remote": "metier.specialists.engines.remote:RemoteEngine",
}
"""Name to class: called with the base and the adapters. A line here makes an engine known to every team file."""


def open_engine(
    spec: str, base: LocalModel | Path | str, adapters: Mapping[str, Path] | None = None, **options: Any
) -> Engine:
    """An engine by its name in `ENGINES`, by a server's address (`http://…/v1`), or by `package.module:Class`.

    Args:
        base: A pulled model or its GGUF file; for a server, the name under which it serves the model.
        adapters: Name to adapter, as `adapters.loadable` gives it for the engine. A server has its own.
        options: For the engine: `context`, `slots`, `threads`, `api_key` …

    Raises:
        EngineError: No such engine, or it cannot be opened.
        MissingExtra: The engine needs a library that is not installed.
    """
    if spec.startswith(("http://", "https://")):
        return _load(ENGINES["remote"])(spec, base if isinstance(base, str) else None, **options)
    gguf = base.files["gguf"] if isinstance(base, LocalModel) else Path(base)
    if spec not in ENGINES and ":" not in spec:
        message = unknown("engine", spec, [name for name in ENGINES if name != "remote"])
        raise EngineError(message, hint="or a server's address: http://127.0.0.1:8000/v1")
    return _load(ENGINES.get(spec, spec))(gguf, adapters or {}, **options)


def _load(path: str) -> Any:
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise EngineError(f"cannot load the engine '{path}': {error}") from error
