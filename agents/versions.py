"""The version of a specialist: one short hash of all that its answers depend on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..core.files import sha256
from ..core.models import LocalModel
from ..specialists.adapters.choose import Adapter, adapter_version, in_use, loadable, on_server
from ..specialists.knowledge.knowledge import Knowledge
from .blueprint import Blueprint, fingerprint
from .heads import head_file


def adapter_of(blueprint: Blueprint, name: str) -> Adapter:
    """The adapter that a specialist works with: the registry's champion, or what its card says; on a server the latter.

    Raises:
        ConfigError: the card names neither a file nor a skill.
        IntegrityError: the champion was changed after it was made.
    """
    card, folder = blueprint.specialists[name], blueprint.folders[name]
    if blueprint.card.served:
        return on_server(card)
    return in_use(card, folder, blueprint.card.base, blueprint.registry.champion(name))


def version_of(
    blueprint: Blueprint,
    name: str,
    base: LocalModel | None,
    knowledge: Knowledge | None,
    adapter: Adapter,
    *,
    headless: bool = False,
) -> str:
    """Card, documents, base, adapter and head in 12 hex digits; stands in every answer and names its evaluation.

    Args:
        headless: Of the specialist without its label head.
    """
    documents = {d.source: d.sha256 for d in knowledge.documents()} if knowledge else {}
    model = base.sha256("gguf") if base else [blueprint.card.engine, blueprint.card.base]
    card = blueprint.specialists[name].model_dump(exclude_defaults=True)
    head = None if headless else head_file(blueprint, name)
    return fingerprint(card, documents, model, adapter_version(adapter), *([sha256(head)] if head else []))


def engine_name(
    blueprint: Blueprint,
    name: str,
    adapter: Adapter,
    base: LocalModel | None,
    progress: Callable[[str, int, int], None] | None = None,
) -> str | None:
    """What the engine calls a specialist's adapter: here the path of what it loads, made if need be; on a server
    (`base` is None) its name there.

    Args:
        progress: Told how far the merging is, for a card with `model.merged`.
    """
    merged = blueprint.specialists[name].model.merged
    report = partial(progress, f"{name}: merging adapter and base") if progress else None
    known = loadable(adapter, base, blueprint.card.engine, merged=merged, report=report) if base else adapter
    return str(known) if known else None
