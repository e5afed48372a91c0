"""One version of a specialist's adapter: a PEFT folder whose name is the hash of its record."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ...core.errors import IntegrityError
from ...core.files import replace_folder, sha256
from ..training.repository import RECORD, WEIGHTS, hashes, open_adapter
from .modelcard import README, model_card

LENGTH = 12
"""Hex digits of a version's name."""


@dataclass(frozen=True)
class Version:
    """A version that passed the checks of `read_version`."""

    id: str
    path: Path
    """A folder that PEFT loads: `adapter_config.json`, `adapter_model.safetensors`, README.md, `metier.json`, and
    `decision.json` where one was fitted."""
    record: dict[str, Any]
    """`metier.json`: base, data, code, seed, figures, licence, and the SHA-256 of the files that it depends on."""


def read_version(path: Path) -> Version:
    """The version in that folder, every hash checked: of the files, and of the record that names them.

    Raises:
        ConfigError: no PEFT folder.
        IntegrityError: something was changed after the version was made.
    """
    folder = open_adapter(path)
    found = sha256(path / RECORD)[:LENGTH] if folder.record else "no record"
    if found != path.name or not folder.record.get("files"):
        raise IntegrityError(
            f"{path / RECORD} is not the one that this version was made with ({found}, not {path.name})",
            hint="metier registry rollback, or train or import it again",
        )
    return Version(path.name, path, folder.record)


def write_version(source: Path, record: Mapping[str, Any], parent: Path) -> Version:
    """Keep the adapter of a PEFT folder as a version below `parent`. The same content gives the same version.

    Only its `parts` and the record are taken: whatever else lies in the folder stays there.

    Raises:
        ConfigError: no PEFT folder.
        IntegrityError: weights that are pickled, changed, or no safetensors.
    """
    open_adapter(source)
    _check_weights(source / WEIGHTS)
    files = hashes(source)
    text = json.dumps({**record, "files": files}, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    target = parent / hashlib.sha256(text.encode()).hexdigest()[:LENGTH]
    if not target.is_dir():
        with replace_folder(target) as fresh:
            for name in files:
                shutil.copyfile(source / name, fresh / name)
            (fresh / RECORD).write_bytes(text.encode())
            (fresh / README).write_text(model_card(record), encoding="utf-8")
    return read_version(target)


def _check_weights(path: Path) -> None:
    """A file may carry the right name and be something else."""
    try:
        with safe_open(path, framework="np") as file:
            list(file.keys())
    except SafetensorError as error:
        raise IntegrityError(
            f"{path} is no safetensors file: {error}", hint="save it again with PEFT's save_pretrained"
        ) from error
