"""The state of a run on disk, so that a killed run goes on where it was. Safetensors and JSON, no pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save

from ...core.files import write_atomic
from ...core.types import Value


class Progress(Value):
    """Where a run is."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    losses: list[tuple[int, float]] = Field(default_factory=list)
    validation: list[tuple[int, float]] = Field(default_factory=list)

    @property
    def best(self) -> tuple[int, float]:
        """Step and loss of the best check; (0, inf) before the first."""
        return min(self.validation, key=lambda entry: entry[1], default=(0, float("inf")))


def save_checkpoint(path: Path, fingerprint: str, progress: Progress, tensors: dict[str, torch.Tensor]) -> None:
    """Replace the checkpoint at `path` in one step."""
    metadata = {"fingerprint": fingerprint, "progress": progress.model_dump_json()}
    write_atomic(path, save({k: v.contiguous() for k, v in tensors.items()}, metadata=metadata))


def load_checkpoint(path: Path, fingerprint: str) -> tuple[Progress, dict[str, torch.Tensor]] | None:
    """The run's state; None where there is none, or one of another run (other data, base or recipe)."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, Any] = file.metadata() or {}
        if metadata.get("fingerprint") != fingerprint:
            return None
        progress = Progress.model_validate(json.loads(metadata["progress"]))
        return progress, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
