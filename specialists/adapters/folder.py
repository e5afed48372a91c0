"""An adapter's folder in Hugging Face's PEFT layout: what is in it, and whether it may be trusted. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import ConfigError, IntegrityError
from ...core.files import sha256

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
RECORD = "metier.json"
"""Where the adapter comes from: base, data, seed, metrics, and the SHA-256 of the files beside it."""
README = "README.md"
"""The model card; the Hugging Face Hub reads its front matter."""
DECISION = "decision.json"
"""Of an adapter that calls tools: when it should (`styles/act/style.py`)."""

_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True)
class AdapterFolder:
    """A PEFT folder that passed the checks of `open_adapter`."""

    path: Path
    config: dict[str, Any]
    """`adapter_config.json`."""
    record: dict[str, Any]
    """`metier.json`; empty for adapters made elsewhere."""

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS


def adapter_parts(path: Path) -> tuple[str, ...]:
    """The files that an adapter's answers depend on: configuration, weights, and its call decision where it has one."""
    return (CONFIG, WEIGHTS, DECISION) if (path / DECISION).is_file() else (CONFIG, WEIGHTS)


def hashes(path: Path) -> dict[str, str]:
    """Each of an adapter's `adapter_parts` with its SHA-256; of a GGUF file: `gguf`."""
    if path.is_file():
        return {"gguf": sha256(path)}
    return {name: sha256(path / name) for name in adapter_parts(path)}


def open_adapter(path: Path) -> AdapterFolder:
    """Read a PEFT folder and refuse what cannot be trusted.

    Weights must be safetensors: pickled ones run code when loaded. Where `metier.json` records hashes, the files must
    still have them, and none may have come or gone.

    Raises:
        ConfigError: not a PEFT folder.
        IntegrityError: pickled weights only, or a file is not the one that was recorded.
    """
    if not (path / WEIGHTS).is_file():
        pickled = [f.name for f in path.glob("adapter_model*") if f.suffix in _PICKLED]
        if pickled:
            raise IntegrityError(
                f"{path}: {', '.join(pickled)} is a pickle and could run code when it is loaded",
                hint=f"save it again with PEFT's save_pretrained, which writes {WEIGHTS}",
            )
        if (path / "config.json").is_file():
            raise ConfigError(
                "this is a whole model, not an adapter",
                file=path,
                hint="llama.cpp's convert_hf_to_gguf.py makes a base of it: `base: FILE.gguf` in team.yaml",
            )
        raise ConfigError(f"no {WEIGHTS} in this folder", file=path, hint="give a folder in PEFT's layout")
    config, record = _json(path / CONFIG), _json(path / RECORD) if (path / RECORD).is_file() else {}
    if promised := record.get("files"):
        for name in dict.fromkeys((*promised, *adapter_parts(path))):
            _check(path / name, promised.get(name, "none"))
    return AdapterFolder(path, config, record)


def _check(file: Path, promised: str) -> None:
    digest = sha256(file) if file.is_file() else "missing"
    if digest != promised:
        raise IntegrityError(
            f"{file} is not the file that {RECORD} promises (SHA-256 {digest[:12]}…, not {promised[:12]}…)",
            hint="get the adapter again from where it came from",
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read as JSON: {error}", file=path) from error
    if not isinstance(value, dict):
        raise ConfigError("holds no JSON object", file=path)
    return value
