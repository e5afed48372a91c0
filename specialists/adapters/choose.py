"""Which adapter a specialist works with, and what the engine loads of it; the shipped skills."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...core.errors import ConfigError, unknown
from ...core.models import LocalModel
from ...core.run import Progress, no_progress
from ..card import SpecialistCard
from ..styles.table import STYLES
from .convert import gguf_adapter
from .folder import CONFIG, RECORD, WEIGHTS, hashes, open_adapter
from .merge import checked_gguf, merged_gguf

_BASE_ALONE = "none"
"""The name on a card that asks for the base alone."""

Adapter = Path | str | None
"""As published: a PEFT folder or a GGUF file, or its name on the server that runs the base; None is the base alone."""

Candidates = dict[str, Adapter]
"""System to adapter."""


_SHIPPED = Path(__file__).parent.parent / "skills"


def in_use(card: SpecialistCard, folder: Path, base: str, champion: Path | None = None) -> Path | None:
    """The adapter that a specialist works with, as published: a PEFT folder or a GGUF file; None is the base alone.

    The registry's champion wins over the card. A card without `model.adapter` gets the shipped skill of its style,
    when there is one for this base.

    Args:
        folder: Where the card is; paths in it start there.
        base: Name of the base model.
        champion: The PEFT folder of the specialist's champion; one for another base is left aside.

    Raises:
        ConfigError: neither a file nor a skill of the name on the card.
    """
    return champion if champion and trained_on(champion, base) else _on_card(card, folder, base)


def on_server(card: SpecialistCard) -> str | None:
    """The adapter that a card names, where a server has the adapters: its name there."""
    return None if card.model.adapter == _BASE_ALONE else card.model.adapter


def loadable(
    source: Adapter,
    base: LocalModel,
    engine: str = "llama",
    *,
    merged: bool = False,
    progress: Progress = no_progress,
) -> Path | None:
    """What the engine loads: the PEFT folder itself, or for llama.cpp a file that is made from it once.

    There is nothing to load for the base alone, and of what a server has.

    Args:
        merged: As a model of its own, the base in it.
        progress: Told how far the merging is.

    Raises:
        ConfigError: not a plain LoRA, or one for another base.
        IntegrityError: the weights are not safetensors, damaged, no numbers, or were changed.
    """
    if not isinstance(source, Path):
        return None
    if merged:
        return merged_gguf(source, base.files["gguf"], progress)
    if source.is_file():
        return checked_gguf(source)
    return source if engine == "transformers" else gguf_adapter(source, base.files["gguf"])


def adapter_version(source: Adapter) -> dict[str, str] | str | None:
    """The hashes of an adapter's files, as a part of its specialist's version; of one on a server only its name."""
    return hashes(source) if isinstance(source, Path) else source


def trained_on(peft: Path, base: str) -> bool:
    """Whether an adapter says that it was trained on that base."""
    return _base_named_in(peft) == _base_name(base)


def check_adapter_base(card: SpecialistCard, folder: Path, base: str) -> None:
    """Was the adapter that a card names made for the card's base, as far as its record says? Others are checked by
    their shapes when they are loaded.

    Raises:
        ConfigError: it was made for another base.
    """
    name = card.model.adapter
    if name is None or name == _BASE_ALONE:
        return
    path = folder / name if (folder / name).is_dir() else _SHIPPED / name
    if not (path / RECORD).is_file() or not (path / CONFIG).is_file() or trained_on(path, base):
        return
    fit = sorted(skill for skill in skill_names() if trained_on(_SHIPPED / skill, base))
    raise ConfigError(
        f"adapter '{name}' was made for the base '{_base_named_in(path)}', this specialist's is '{base}'; "
        f"skills for it: {', '.join(fit) or 'none'}",
        field="model.adapter",
        hint=f"name one of those or leave `adapter` out, or give this card `base: {_base_named_in(path)}`",
    )


def _base_named_in(peft: Path) -> str:
    return json.loads((peft / CONFIG).read_text()).get("base_model_name_or_path", "")


def _base_name(base: str) -> str:
    """The name that records of training give a base: of a file that of the file."""
    return Path(base).stem if base.endswith(".gguf") else base


def candidates(card: SpecialistCard, folder: Path, base: str, versions: Mapping[str, Path | None]) -> Candidates:
    """All that a specialist could work with: name to adapter, the plain base first.

    `base`, `skill` (the shipped one of its style), `adapter` (of its card), and the registry's `versions` by alias.
    """
    systems: Candidates = {"base": None}
    if skill := skill_of(card, base):
        systems["skill"] = skill
    own = _on_card(card, folder, base)
    if own is not None and own != systems.get("skill"):
        systems["adapter"] = own
    return systems | {alias: path for alias, path in versions.items() if path and trained_on(path, base)}


def _on_card(card: SpecialistCard, folder: Path, base: str) -> Path | None:
    name = card.model.adapter
    if name is None:
        return skill_of(card, base)
    if name == _BASE_ALONE:
        return None
    path = folder / name
    if (path.suffix == ".gguf" and path.is_file()) or (path / WEIGHTS).is_file():
        return path
    if name in skill_names():
        return find_skill(name)
    if path.is_dir():
        open_adapter(path)  # says what is wrong with it
    raise ConfigError(
        unknown("adapter", name, [_BASE_ALONE, *skill_names()]),
        field="model.adapter",
        hint=f"or a folder with {WEIGHTS} in it",
    )


def skill_of(card: SpecialistCard, base: str) -> Path | None:
    """The shipped skill for the card's style and this base: one of the style's name, or one for several styles."""
    name = STYLES[card.style].skill or card.style if card.style in STYLES else ""
    made = [skill for skill in map(find_skill, skill_names()) if trained_on(skill, base)]
    able = [skill for skill in made if skill.name == name or card.style in _styles(skill)]
    return min(able, key=lambda skill: skill.name != name, default=None)


def _styles(skill: Path) -> Sequence[str]:
    """The styles that a skill for several was made for, as its record says."""
    record = skill / RECORD
    return json.loads(record.read_text(encoding="utf-8")).get("styles", ()) if record.is_file() else ()


def skill_names() -> list[str]:
    """The skills that are shipped, sorted: adapters for a way of working, one PEFT folder each."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{WEIGHTS}"))


def find_skill(name: str) -> Path:
    """The PEFT folder of a shipped skill.

    Raises:
        ConfigError: there is no skill of that name.
    """
    names = skill_names()
    if name not in names:
        raise ConfigError(unknown("skill", name, names))
    return _SHIPPED / name
