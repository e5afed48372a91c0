"""Model files: the catalogue of what can be had, and the cache of what is on this machine."""

from __future__ import annotations

from .catalogue import Entry, FileSpec, read_catalogue
from .store import LocalModel, ModelInfo, ModelRecord, ModelStore, StoredFile

__all__ = [
    "Entry",
    "FileSpec",
    "LocalModel",
    "ModelInfo",
    "ModelRecord",
    "ModelStore",
    "StoredFile",
    "read_catalogue",
]
