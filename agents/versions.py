"""The version of a specialist: one short hash of all that its answers depend on."""

from __future__ import annotations

from pathlib import Path

from ..core.models import LocalModel
from ..specialists.adapters import adapter_version, in_use
from ..specialists.knowledge.knowledge import Knowledge
from .blueprint import Blueprint, fingerprint


def adapter_of(blueprint: Blueprint, name: str) -> Path | None:
    """The adapter that a specialist works with, as published: the registry's champion, or what its card says.

    Raises:
        ConfigError: the card names neither a file nor a skill.
        IntegrityError: the champion was changed after it was made.
    """
    card, folder = blueprint.specialists[name], blueprint.folders[name]
    return in_use(card, folder, blueprint.card.base, blueprint.registry.champion(name))


def version_of(
    blueprint: Blueprint, name: str, base: LocalModel | None, knowledge: Knowledge | None, adapter: Path | None
) -> str:
    """Card, documents, base and adapter in 12 hex digits; stands in every answer and names its evaluation."""
    documents = {d.source: d.sha256 for d in knowledge.documents()} if knowledge else {}
    model = base.sha256("gguf") if base else [blueprint.card.engine, blueprint.card.base]
    card = blueprint.specialists[name].model_dump()
    return fingerprint(card, documents, model, adapter_version(adapter))
