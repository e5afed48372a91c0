"""From the name on a card to the adapter file that the engine loads."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import ConfigError, unknown
from .skills import find_skill, skill_names
from .training.convert import gguf_adapter


def find_adapter(name: str | None, folder: Path, base: Path) -> Path | None:
    """The GGUF adapter for a card's `model.adapter`; converted once from its PEFT folder.

    Args:
        name: A path relative to `folder` (a `.gguf` file or a PEFT folder), a shipped skill, or None.
        folder: Where the card is.
        base: The base model's GGUF, which the adapter must fit.

    Raises:
        ConfigError: neither a file nor a skill of that name.
    """
    if name is None:
        return None
    path = folder / name
    if path.suffix == ".gguf" and path.is_file():
        return path
    if path.is_dir():
        return gguf_adapter(path, base)
    if name in skill_names():
        return gguf_adapter(find_skill(name), base)
    raise ConfigError(unknown("adapter", name, skill_names()), field="model.adapter", hint="or give a path to a folder")
