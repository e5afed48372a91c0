"""An adapter's folder in Hugging Face's PEFT layout: what is in it, and whether it may be trusted. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize, safe_open

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

_FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""Number formats of safetensors that are read, as numpy reads their bytes; it does not know BF16, half of an F32."""
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
        ConfigError: not a PEFT folder, or weights in a number format that is not read.
        IntegrityError: weights that are pickled or damaged, or a file is not the one that was recorded.
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
    _check_formats(path / WEIGHTS)
    return AdapterFolder(path, config, record)


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a safetensors file by name, whichever of the usual formats they are in (BF16 too).

    Raises:
        ConfigError: a number format that is not read.
        IntegrityError: damaged or cut off, or values that are no numbers.
    """
    _check_formats(path)
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, held in sorted(deserialize(path.read_bytes())):
        values = np.frombuffer(held["data"], _FORMATS[held["dtype"]])
        if held["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):
            tensors[name] = values.astype(np.float32).reshape(held["shape"])
        if not np.isfinite(tensors[name]).all():
            raise IntegrityError(
                f"{path}: '{name}' holds values that are not finite numbers",
                hint="its training went wrong: take an earlier checkpoint, or train it again",
            )
    return tensors


def _check_formats(path: Path) -> None:
    """A file may carry the right name and be something else, or be cut off."""
    try:
        with safe_open(path, framework="np") as file:
            formats = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise IntegrityError(
            f"{path} is no safetensors file, or a part of one: {error}",
            hint="get it again, or save it again with PEFT's save_pretrained",
        ) from error
    for name, found in formats.items():
        if found not in _FORMATS:
            raise ConfigError(
                f"'{name}' is in the number format {found}; adapters are read in {', '.join(_FORMATS)}", file=path
            )


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
