"""Vector indexes by name: `faiss`, or `module:Class` of any llama-index vector store."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.errors import KnowledgeError
from .dotted import load_class
from .shelf import Shelf
from .vectors import FaissIndex


class Index(Protocol):
    """Finds the rows of the passages whose vectors are nearest to a query's."""

    @classmethod
    def build(cls, folder: Path, shelf: Shelf, options: dict[str, Any], before: Shelf | None) -> None:
        """Index all passages of the shelf; `before` is the shelf that is valid until this one is published."""
        ...

    @classmethod
    def retire(cls, shelf: Shelf, options: dict[str, Any], before: Shelf) -> None:
        """Called when the shelf is published: what only the one before needed may go."""
        ...

    @classmethod
    def open(cls, folder: Path, shelf: Shelf, options: dict[str, Any]) -> Index:
        """Open what `build` left in the folder of a generation."""
        ...

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[int]:
        """Row ids, nearest first."""
        ...


def backend(name: str) -> type[Index]:
    """The index type for `KnowledgeCard.backend`.

    Raises:
        KnowledgeError: there is no such class.
    """
    if name == "faiss":
        return FaissIndex
    if ":" not in name:
        raise KnowledgeError(
            f"unknown back-end '{name}'; available: faiss, or module:Class of a llama-index vector store",
            hint="backend: llama_index.core.vector_stores:SimpleVectorStore",
        )
    store_class = load_class(name, "back-end")
    # llama-index takes more than a second to import, which only those who use its stores should wait for
    stores = import_module(".stores", __package__)
    return stores.backend(store_class)
