"""What the cache knows of its files: plain data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from ..types import Value
from .catalogue import FileSpec

SUFFIX = {"gguf": ".gguf", "original": ".gguf", "onnx": ".onnx", "tokenizer": ".json"}
"""Role to the ending of its file."""


class StoredFile(Value):
    """A file in the cache."""

    sha256: str
    size: int
    """Bytes."""
    source: str
    """The source line, or the recipe that made it and the hash of what it was made from."""
    trust: Literal["promised", "first-use", "derived"]
    """Why the hash is believed: the catalogue promised it; it is that of the first pull; it was made here."""


class Manifest(Value):
    """What was pulled under a name."""

    name: str
    kind: str
    licence: str
    files: dict[str, StoredFile]
    pulled: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """When, in UTC."""


class ModelInfo(Value):
    """A line of `metier models list`."""

    name: str
    kind: str
    licence: str
    about: str = ""
    pulled: bool
    size: int
    """Bytes on the disk; for a model that is not here, to download, as far as the catalogue knows."""
    files: dict[str, StoredFile | FileSpec]
    """Role to file: as it lies here, or as the catalogue describes it."""
