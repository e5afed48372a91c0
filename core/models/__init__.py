"""Model files: the catalogue of what can be had, and the cache of what is on this machine."""

from __future__ import annotations

from .catalogue import Entry, FileSpec, read_catalogue
from .local import LocalModel
from .store import ModelInfo, ModelStore

__all__ = ["Entry", "FileSpec", "LocalModel", "ModelInfo", "ModelStore", "read_catalogue"]
