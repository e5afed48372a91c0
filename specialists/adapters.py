"""From the name on a card to the adapter file that the engine loads."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import ConfigError, unknown
from ..core.files import sha256
from .skills import find_skill, skill_names
from .training.convert import gguf_adapter

WEIGHTS = "adapter_model.safetensors"


def find_adapter(name: str | None, folder: Path, base: Path) -> Path | None:
    """The GGUF adapter for a card's `model.adapter`; converted once from its PEFT folder.

    Args:
        name: A path relative to `folder` (a `.gguf` file or a PEFT folder), a shipped skill, or None.
        folder: Where the card is.
        base: The base model's GGUF, which the adapter must fit.

    Raises:
        ConfigError: neither a file nor a skill of that name.
        ModelError: the weights are not safetensors, or do not fit the base.
    """
    if name is None:
        return None
    source = _locate(name, folder)
    return source if source.is_file() else gguf_adapter(source, base)


def adapter_version(name: str | None, folder: Path) -> str | None:
    """The hash of an adapter's weights, as a part of its specialist's version."""
    if name is None:
        return None
    source = _locate(name, folder)
    return sha256(source if source.is_file() else source / WEIGHTS)


def _locate(name: str, folder: Path) -> Path:
    path = folder / name
    if (path.suffix == ".gguf" and path.is_file()) or (path / WEIGHTS).is_file():
        return path
    if name in skill_names():
        return find_skill(name)
    raise ConfigError(
        unknown("adapter", name, skill_names()), field="model.adapter", hint=f"or a folder with {WEIGHTS} in it"
    )
