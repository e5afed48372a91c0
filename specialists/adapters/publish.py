"""Adapters for a server that loads them while it runs: a folder that it reads, too, holds a copy of each.

FOLDER/NAME-HASH/           one adapter in PEFT's layout; the hash is of its files: a name never changes its meaning
FOLDER/teams/TEAM.json      which of them a team uses, now and before its last change
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock

from ...core.errors import ConfigError
from ...core.files import write_atomic
from .folder import CONFIG, WEIGHTS, hashes, open_adapter

_TEAMS = "teams"
_DAY = 24 * 60 * 60
"""Seconds for which what was published may wait for a team that notes it: of an evaluation, say."""


def publish(adapter: Path, folder: Path) -> str:
    """Copy an adapter to where a server finds it. Gives its name there; the same files have the same name.

    Raises:
        ConfigError: a server cannot run it: it is no plain LoRA in PEFT's layout.
        IntegrityError: the weights are not safetensors, damaged, or were changed.
    """
    if adapter.is_file():
        raise ConfigError(
            "a server loads adapters in PEFT's layout, not GGUF files", file=adapter, field="model.adapter"
        )
    config = open_adapter(adapter).config
    if config.get("peft_type") != "LORA" or config.get("use_dora"):
        kind = "DoRA" if config.get("use_dora") else config.get("peft_type")
        raise ConfigError(
            f"a server runs plain LoRAs, this adapter is {kind}", file=adapter, hint="`engine: transformers` runs it"
        )
    plain = re.sub(r"[^a-z0-9_-]+", "-", adapter.name.lower()).strip("-") or "adapter"
    name = f"{plain}-{sha256(json.dumps(hashes(adapter), sort_keys=True).encode()).hexdigest()[:12]}"
    if not (folder / name).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=".draft-", dir=folder))
        for part in (CONFIG, WEIGHTS):
            shutil.copyfile(adapter / part, draft / part)
        draft.chmod(0o755)  # the server may be another user
        try:
            draft.rename(folder / name)
        except OSError:  # another process has published it meanwhile
            shutil.rmtree(draft)
    return name


def note_published(folder: Path, team: str, names: Collection[str]) -> list[str]:
    """Note which adapters a team uses from now on. Gives those of more than a day that no team uses any more, nor did
    before its last change: other processes of a team may be one change behind.
    """
    file = folder / _TEAMS / f"{team}.json"
    with FileLock(folder / ".lock"):
        now, _ = _used(file)
        if set(names) != now:
            write_atomic(file, json.dumps({"now": sorted(names), "before": sorted(now)}))
        kept = {name for other in (folder / _TEAMS).glob("*.json") for used in _used(other) for name in used}
        there = [path for path in folder.iterdir() if (path / WEIGHTS).is_file() and path.name not in kept]
        return sorted(path.name for path in there if time.time() - path.stat().st_mtime > _DAY)


def withdraw(folder: Path, names: Collection[str]) -> None:
    """Remove published adapters."""
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)


def _used(file: Path) -> tuple[set[str], set[str]]:
    """By a team: now, and before its last change."""
    kept = json.loads(file.read_bytes()) if file.is_file() else {}
    return set(kept.get("now", ())), set(kept.get("before", ()))
