"""Model files: the catalogue of what can be had, and the cache of what is on this machine."""

from __future__ import annotations

from .catalogue import Entry, FileSpec, read_catalogue
from .local import LocalModel
from .manifest import ModelInfo, StoredFile
from .store import ModelStore

__all__ = ["Entry", "FileSpec", "LocalModel", "ModelInfo", "ModelStore", "StoredFile", "read_catalogue"]
