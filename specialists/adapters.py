"""From a card to the adapter file that the engine loads."""

from __future__ import annotations

import json
from pathlib import Path

from ..core.errors import ConfigError, unknown
from ..core.files import sha256
from ..core.models import LocalModel
from .card import SpecialistCard
from .skills import find_skill, skill_names
from .training.convert import gguf_adapter
from .training.repository import CONFIG, WEIGHTS

NONE = "none"
"""The name on a card that asks for the base alone."""


def find_adapter(card: SpecialistCard, folder: Path, base: LocalModel) -> Path | None:
    """The GGUF adapter that a specialist works with; converted once from its PEFT folder.

    A card without `model.adapter` gets the shipped skill of its style, when there is one for this base.

    Args:
        folder: Where the card is; paths in it start there.
        base: The base model, which the adapter must fit.

    Raises:
        ConfigError: neither a file nor a skill of that name.
        IntegrityError: the weights are not safetensors, or were changed.
    """
    source = _source(card, folder, base.name)
    if source is None or source.is_file():
        return source
    return gguf_adapter(source, base.files["gguf"])


def adapter_version(card: SpecialistCard, folder: Path, base: str) -> str | None:
    """The hash of the adapter's weights, as a part of its specialist's version."""
    source = _source(card, folder, base)
    return source and sha256(source if source.is_file() else source / WEIGHTS)


def _source(card: SpecialistCard, folder: Path, base: str) -> Path | None:
    """The adapter as published: a PEFT folder, or a GGUF file."""
    name = card.model.adapter
    if name is None:
        skill = find_skill(card.style) if card.style in skill_names() else None
        return skill if skill and _made_for(skill) == base else None
    if name == NONE:
        return None
    path = folder / name
    if (path.suffix == ".gguf" and path.is_file()) or (path / WEIGHTS).is_file():
        return path
    if name in skill_names():
        return find_skill(name)
    raise ConfigError(
        unknown("adapter", name, [NONE, *skill_names()]),
        field="model.adapter",
        hint=f"or a folder with {WEIGHTS} in it",
    )


def _made_for(peft: Path) -> str:
    """Name of the base that an adapter was trained on."""
    return json.loads((peft / CONFIG).read_text()).get("base_model_name_or_path", "")
