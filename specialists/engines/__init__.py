"""Engines: what runs a language model. `open_engine` is the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.models import LocalModel
from ...core.plugins import load
from .engine import Engine, Sampling

__all__ = ["ENGINES", "Engine", "Sampling", "open_engine"]

ENGINES = {
    "llama": "metier.specialists.engines.llama:LlamaEngine",
    "openvino": "metier.specialists.engines.openvino:OpenVinoEngine",
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

    Args:
        base: A pulled model or its GGUF file; for a server, the name under which it serves the model.
        adapters: Name to adapter, as `adapters.loadable` gives it for the engine. A server has its own.
        folders: Where a module of one's own may lie besides those that are installed.
        options: For the engine: `context`, `slots`, `threads`, `api_key` …

    Raises:
        ConfigError: No such engine.
        EngineError: It cannot be opened.
        MissingExtra: The engine needs a library that is not installed.
    """
    if spec.startswith(("http://", "https://")):
        return load("remote", "engine", ENGINES)(spec, base if isinstance(base, str) else None, **options)
    gguf = base.files["gguf"] if isinstance(base, LocalModel) else Path(base)
    local = {name: place for name, place in ENGINES.items() if name != "remote"}
    address = "a server's address: http://127.0.0.1:8000/v1"
    return load(spec, "engine", local, field="engine", hint=address, folders=folders)(gguf, adapters or {}, **options)
