"""A model that lies on this machine. Only paths and names: nothing is loaded here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..files import sha256


@dataclass(frozen=True)
class LocalModel:
    """A model whose files are here.

    `files` maps a role to a path: a base has `gguf` (what engines load) and, where that was re-quantised, `original`
    (the file as published); an embedder has `onnx` and `tokenizer`.
    """

    name: str
    kind: str
    """`base` or `embedder`."""
    licence: str
    files: dict[str, Path]
    hashes: dict[str, str] = field(default_factory=dict)
    """Role to SHA-256, as recorded when the file was pulled."""

    def sha256(self, role: str) -> str:
        """The file's hash: recorded for pulled models, computed for a plain path."""
        return self.hashes.get(role) or sha256(self.files[role])
