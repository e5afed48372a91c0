"""Vector stores of llama-index as the dense half of an index, named by dotted path.

Stores that llama-index saves as a file live in the generation's folder. All others (servers, databases) are shared by
the generations: new passages are added before a generation becomes valid, old ones deleted after, and passages that a
generation does not know are ignored, so that the search is right at every moment. Give each specialist a collection of
its own in `backend_options`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQuery
from numpy.typing import NDArray

from ...core.errors import KnowledgeError
from .shelf import Shelf, node_id

_FILE = "vectors.json"
_AT_ONCE = 1000


class StoreIndex:
    """What `backends.Index` asks for, on top of one llama-index class; `backend` makes one such type per class."""

    store_class: type[BasePydanticVectorStore]

    def __init__(self, store: BasePydanticVectorStore, shelf: Shelf) -> None:
        self._store = store
        self._shelf = shelf

    @classmethod
    def build(cls, folder: Path, shelf: Shelf, options: dict[str, Any], before: Shelf | None) -> None:
        store = cls._store_of(options)
        as_file = hasattr(cls.store_class, "from_persist_path")
        have = set() if as_file or before is None else set(before.versions().items())
        for source, version in shelf.versions().items():
            if (source, version) not in have:
                if not as_file:
                    store.delete(node_id(source, version))  # left over from a build that was killed
                _add(store, shelf, source, version)
        if as_file:
            store.persist(str(folder / _FILE))

    @classmethod
    def open(cls, folder: Path, shelf: Shelf, options: dict[str, Any]) -> StoreIndex:
        path = folder / _FILE
        load = getattr(cls.store_class, "from_persist_path", None)
        return cls(load(str(path)) if load is not None else cls._store_of(options), shelf)

    @classmethod
    def retire(cls, shelf: Shelf, options: dict[str, Any], before: Shelf) -> None:
        if hasattr(cls.store_class, "from_persist_path"):
            return
        store = cls._store_of(options)
        for source, version in before.versions().items() - shelf.versions().items():
            store.delete(node_id(source, version))

    @classmethod
    def _store_of(cls, options: dict[str, Any]) -> BasePydanticVectorStore:
        try:
            return cls.store_class(**options)
        except Exception as error:  # a store may raise anything when its server or its options are wrong
            given = ", ".join(options) or "no options"
            raise KnowledgeError(f"back-end {cls.__name__} cannot be opened with {given}: {error}") from error

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[int]:
        result = self._store.query(VectorStoreQuery(query_embedding=vector.tolist(), similarity_top_k=k))
        ids = result.ids if result.ids is not None else [node.node_id for node in result.nodes or ()]
        return self._shelf.rows_of_nodes(ids)


def backend(store_class: type[Any]) -> type[StoreIndex]:
    """The index type for a vector store class."""
    return type(store_class.__name__, (StoreIndex,), {"store_class": store_class})


def _add(store: BasePydanticVectorStore, shelf: Shelf, source: str, version: str) -> None:
    document = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=node_id(source, version))}
    nodes: list[Any] = []
    for passage, node, vector in shelf.nodes(source):
        metadata = {"source": source, "passage": passage.id, "heading": " > ".join(passage.heading)}
        nodes.append(
            TextNode(
                id_=node,
                text=passage.text,
                embedding=vector.tolist(),
                metadata=metadata,
                relationships=document,
                start_char_idx=passage.start,
                end_char_idx=passage.end,
            )
        )
    for some in _batches(nodes):
        store.add(some)


def _batches(nodes: list[Any]) -> Iterator[list[Any]]:
    for first in range(0, len(nodes), _AT_ONCE):
        yield nodes[first : first + _AT_ONCE]
