"""The version of a specialist: one short hash of all that its answers depend on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.files import sha256
from ..core.models import LocalModel
from ..specialists.adapters import adapter_version, in_use, loadable
from ..specialists.knowledge.knowledge import Knowledge
from .blueprint import Blueprint, fingerprint
from .heads import head_file


def adapter_of(blueprint: Blueprint, name: str) -> Path | None:
    """The adapter that a specialist works with, as published: the registry's champion, or what its card says.

    Raises:
        ConfigError: the card names neither a file nor a skill.
        IntegrityError: the champion was changed after it was made.
    """
    card, folder = blueprint.specialists[name], blueprint.folders[name]
    return in_use(card, folder, blueprint.card.base, blueprint.registry.champion(name))


def version_of(
    blueprint: Blueprint,
    name: str,
    base: LocalModel | None,
    knowledge: Knowledge | None,
    adapter: Path | None,
    *,
    headless: bool = False,
) -> str:
    """Card, documents, base, adapter and head in 12 hex digits; stands in every answer and names its evaluation.

    Args:
        headless: Of the specialist without its label head.
    """
    documents = {d.source: d.sha256 for d in knowledge.documents()} if knowledge else {}
    model = base.sha256("gguf") if base else [blueprint.card.engine, blueprint.card.base]
    card = blueprint.specialists[name].model_dump()
    head = None if headless else head_file(blueprint, name)
    return fingerprint(card, documents, model, adapter_version(adapter), *([sha256(head)] if head else []))


def adapter_names(
    blueprint: Blueprint, published: Mapping[str, Path | None], base: LocalModel | None
) -> dict[str, str | None]:
    """What the engine calls the adapter of each specialist: here its file, on a server the name on the card."""
    if base is None:
        return {name: card.model.adapter for name, card in blueprint.specialists.items()}
    files = {name: loadable(source, base, blueprint.card.engine) for name, source in published.items()}
    return {name: str(file) if file else None for name, file in files.items()}
