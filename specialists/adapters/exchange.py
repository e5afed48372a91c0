"""Versions to and from elsewhere: PEFT repositories, as the Hugging Face Hub holds them."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..._version import __version__
from ...core.errors import ConfigError, InputError
from ...core.files import replace_folder, sha256
from ...core.models import LocalModel
from ...core.models.catalogue import hub_name
from ...core.settings import settings
from ..card import SpecialistCard
from .convert import gguf_adapter
from .folder import CONFIG, README, RECORD, WEIGHTS, AdapterFolder, open_adapter
from .registry import Registry, Version, model_card


def export_version(version: Version, target: Path, figures: str = "") -> Path:
    """Write a version to `target` as a PEFT repository with a model card.

    Args:
        figures: What was measured, as Markdown for the card.

    Raises:
        InputError: there is something at `target` already.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is not empty", hint="name a folder that does not exist yet")
    with replace_folder(target) as fresh:
        for name in (*version.record["files"], RECORD):
            shutil.copyfile(version.path / name, fresh / name)
        (fresh / README).write_text(model_card(version.record, figures), encoding="utf-8")
    return target


def import_adapter(registry: Registry, name: str, source: Path, base: LocalModel) -> Version:
    """Take a PEFT repository into the registry as the challenger of `name`.

    One that metier exported keeps its record, and so its version. Of others only weights and configuration are taken.

    Raises:
        ConfigError: no PEFT folder, no plain LoRA, or one for another base.
        IntegrityError: pickled weights, or files that were changed.
    """
    folder = open_adapter(source)
    if folder.record:
        made_for = folder.record.get("base", {}).get("name")
        if made_for != base.name:
            raise ConfigError(
                f"made for the base '{made_for}', '{name}' uses '{base.name}'",
                file=source / RECORD,
                hint="change `base:` in team.yaml, or `model.base` in its card, or train it again",
            )
        _must_fit(source, base)
        return registry.add(name, source, folder.record, f"imported from {source.name}")
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        shutil.copyfile(folder.weights, copy / WEIGHTS)
        config = folder.config | {"base_model_name_or_path": base.name, "inference_mode": True}
        (copy / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        _must_fit(copy, base)
        return registry.add(name, copy, _foreign(name, folder, base), f"imported from {source.name}")


def _must_fit(folder: Path, base: LocalModel) -> None:
    """Better asked now than when a team starts: the conversion checks kind and shapes against the base."""
    with tempfile.TemporaryDirectory() as cache:
        gguf_adapter(folder, base.files["gguf"], Path(cache))


def _foreign(name: str, folder: AdapterFolder, base: LocalModel) -> dict[str, Any]:
    """The record of an adapter that was made elsewhere."""
    return {
        "specialist": name,
        "licence": _licence(folder.path / README),
        "origin": folder.path.name,
        "base": base_record(base) | {"named": folder.config.get("base_model_name_or_path")},
    }


def _licence(card: Path) -> str:
    """What the front matter of a model card says."""
    text = card.read_text(encoding="utf-8", errors="replace")[:10_000] if card.is_file() else ""
    licence = re.search(r"^license:\s*[\"']?([\w.+-]+)", text, re.MULTILINE)
    return licence[1] if licence else "unknown"


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
