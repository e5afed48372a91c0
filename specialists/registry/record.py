"""What a version remembers of its making (`metier.json`): enough to make it again, and to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..._version import __version__
from ...core.files import sha256
from ...core.models import LocalModel
from ...core.models.catalogue import hub_name
from ...core.settings import settings
from ..card import SpecialistCard
from ..training.repository import WEIGHTS


def base_record(base: LocalModel) -> dict[str, Any]:
    """The base: its name here and on the Hugging Face Hub, and the hash of the file that was trained on."""
    return {"name": base.name, "gguf_sha256": base.sha256("gguf"), "hub": hub_name(base.name, settings().home)}


def training_record(
    card: SpecialistCard,
    base: LocalModel,
    data: Mapping[str, str],
    config: Mapping[str, Any],
    report: Mapping[str, Any],
    start: Path | None,
) -> dict[str, Any]:
    """The record of a training run.

    Args:
        data: What was learnt from: name to SHA-256.
        config, report: The recipe, with its seed, and what came of it (`TrainConfig`, `TrainReport`).
        start: The PEFT folder that it went on from.
    """
    return {
        "specialist": card.name,
        # An adapter is a work made from the base; whoever publishes it may say more.
        "licence": base.licence,
        "base": base_record(base),
        "start": sha256(start / WEIGHTS) if start else None,
        "data": dict(data),
        "code": f"metier {__version__}",
        "seed": config.get("seed"),
        "config": dict(config),
        "report": dict(report),
        "card": card.model_dump(),
    }
