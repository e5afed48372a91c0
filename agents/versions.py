"""The version of a specialist: one short hash of all that its answers depend on."""

from __future__ import annotations

from pathlib import Path

from ..core.models import LocalModel
from ..specialists.adapters import adapter_version
from ..specialists.knowledge.knowledge import Knowledge
from .blueprint import Blueprint, fingerprint


def version_of(
    blueprint: Blueprint, name: str, base: LocalModel | None, knowledge: Knowledge | None, adapter: Path | None
) -> str:
    """Card, documents, base and adapter in 12 hex digits; stands in every answer and names its evaluation."""
    documents = {d.source: d.sha256 for d in knowledge.documents()} if knowledge else {}
    model = base.sha256("gguf") if base else [blueprint.card.engine, blueprint.card.base]
    card = blueprint.specialists[name].model_dump()
    return fingerprint(card, documents, model, adapter_version(adapter))
