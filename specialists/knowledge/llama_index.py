"""The seam to llama-index: its vector stores and file readers in metier, and a specialist's knowledge in its chains.

A vector store is the dense half of an index. Stores that llama-index saves as a file live in the generation's folder.
All others (servers, databases) are shared by the generations: new passages are added before a generation becomes valid,
old ones deleted after, and passages that a generation does not know are ignored, so that the search is right at every
moment. Give each specialist a collection of its own in `backend_options`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document as LangChainDocument
from langchain_core.retrievers import BaseRetriever as LangChainBase
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexBase
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQuery
from numpy.typing import NDArray
from pydantic import ConfigDict, ValidationError

from ...core.errors import ConfigError, KnowledgeError, MetierError, UnreadableDocument
from ...core.types import Passage
from .documents import Document, Outline
from .readers.text import add_paragraphs, title_of
from .store import PassageStore, node_id

_FILE = "vectors.json"
_AT_ONCE = 1000
"""Nodes that are added to a store together."""


class StoreIndex:
    """What `indexes.Index` asks for, on top of one llama-index class; `store_index` makes one such type per class."""

    store_class: ClassVar[type[Any]]
    as_file: ClassVar[bool] = False
    """Whether llama-index saves such a store as a file."""

    def __init__(
        self, store: BasePydanticVectorStore, passages: PassageStore, among: NDArray[np.int64] | None = None
    ) -> None:
        self._store = store
        self._passages = passages
        self._among = None if among is None else frozenset(among.tolist())

    @classmethod
    def build(cls, folder: Path, passages: PassageStore, options: dict[str, Any], before: PassageStore | None) -> None:
        store = cls._store_of(options, passages)
        have = set() if cls.as_file or before is None else set(before.versions().items())
        for source, version in passages.versions().items():
            if (source, version) not in have:
                if not cls.as_file:
                    # Left over from a build that was killed. A store that makes its collection with the first passage
                    # complains where there is none yet; what is really wrong with it shows in a moment.
                    with suppress(Exception):
                        store.delete(node_id(source, version))
                _add(store, passages, source, version)
        if cls.as_file:
            store.persist(str(folder / _FILE))

    @classmethod
    def open(cls, folder: Path, passages: PassageStore, options: dict[str, Any]) -> StoreIndex:
        if cls.as_file:
            return cls(cls.store_class.from_persist_path(str(folder / _FILE)), passages)
        return cls(cls._store_of(options, passages), passages)

    @classmethod
    def retire(cls, passages: PassageStore, options: dict[str, Any], before: PassageStore) -> None:
        if cls.as_file:
            return
        with _asking(cls.__name__):
            store = cls._store_of(options, passages)
            for source, version in before.versions().items() - passages.versions().items():
                store.delete(node_id(source, version))

    @classmethod
    def _store_of(cls, options: dict[str, Any], passages: PassageStore) -> BasePydanticVectorStore:
        try:
            return cls.make(options, passages.meta()["dimension"])
        except MetierError:
            raise
        except Exception as error:  # a store may raise anything when its server or its options are wrong
            given = ", ".join(options) or "no options"
            raise KnowledgeError(f"back-end {cls.__name__} cannot be opened with {given}: {error}") from error

    def only(self, rows: NDArray[np.int64]) -> StoreIndex:
        return type(self)(self._store, self._passages, rows)

    @classmethod
    def make(cls, options: dict[str, Any], dimension: int) -> BasePydanticVectorStore:
        """The store of these options, for vectors of that length."""
        return cls.store_class(**options)

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[int]:
        if self._among is None:
            return self._found(vector, k)
        # Stores filter in ways of their own, or not at all: ask for more until enough of what may be seen is there.
        wanted, most = k, len(self._passages)
        while True:
            found = self._found(vector, wanted)
            seen = [row for row in found if row in self._among][:k]
            if len(seen) >= min(k, len(self._among)) or wanted >= most:
                return seen
            wanted = min(4 * wanted, most)

    def _found(self, vector: NDArray[np.float32], k: int) -> list[int]:
        with _asking(type(self).__name__):
            result = self._store.query(VectorStoreQuery(query_embedding=vector.tolist(), similarity_top_k=k))
        ids = result.ids if result.ids is not None else [node.node_id for node in result.nodes or ()]
        return self._passages.rows_of_nodes(ids)


@contextmanager
def _asking(name: str) -> Iterator[None]:
    """A store may raise anything when its server is away or its options are wrong."""
    try:
        yield
    except (MetierError, sqlite3.Error, OSError):
        raise
    except Exception as error:
        raise KnowledgeError(f"back-end {name} cannot be used: {error}", hint="is its server running?") from error


def checked_options(kind: type[Any], options: dict[str, Any]) -> Any:
    """The options of a back-end as one pydantic model. Raises `ConfigError` that names the field."""
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("knowledge.backend_options", *first["loc"])))
        raise ConfigError(first["msg"], field=where, hint=f"it takes {', '.join(kind.model_fields)}") from None


def store_index(store_class: type[Any]) -> type[StoreIndex]:
    """The index type for a vector store class."""
    as_file = hasattr(store_class, "from_persist_path")
    return type(store_class.__name__, (StoreIndex,), {"store_class": store_class, "as_file": as_file})


def _add(store: BasePydanticVectorStore, passages: PassageStore, source: str, version: str) -> None:
    document = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=node_id(source, version))}
    nodes: list[Any] = []
    for passage, node, vector in passages.nodes(source):
        about = {"source": source, "passage": passage.id, "heading": " > ".join(passage.heading)}
        nodes.append(
            TextNode(
                id_=node,
                text=passage.text,
                embedding=vector.tolist(),
                metadata=about,
                relationships=document,
                start_char_idx=passage.start,
                end_char_idx=passage.end,
            )
        )
    try:
        for first in range(0, len(nodes), _AT_ONCE):
            store.add(nodes[first : first + _AT_ONCE])
    except Exception as error:  # a store may raise anything
        name = type(store).__name__
        raise KnowledgeError(f"back-end {name} does not take the passages of {source}: {error}") from error


# File readers of llama-index, for kinds of files that metier does not read itself.


def document_reader(reader_class: type[BaseReader]) -> Callable[[Path, str], Document]:
    """A reader that asks `reader_class().load_data(file)`. Several documents count as the pages of one."""

    def read(path: Path, source: str) -> Document:
        try:
            parts = [document.text for document in reader_class().load_data(path)]
        except Exception as error:  # a reader may raise anything; one bad file must not stop a build
            raise UnreadableDocument(f"{reader_class.__name__} cannot read it: {error}") from error
        outline = Outline()
        for part in parts:
            if len(parts) > 1:
                outline.begin_page()
            add_paragraphs(outline, part)
        return outline.document(source, title_of(source))

    return read


# A specialist's knowledge as a retriever of llama-index and of LangChain, to use it in their chains.


@runtime_checkable
class SearchablePassages(Protocol):
    """What both need: `Knowledge.search`."""

    def search(self, query: str, k: int) -> list[Passage]: ...


class LlamaIndexRetriever(LlamaIndexBase):
    """Passages as llama-index nodes."""

    def __init__(self, knowledge: SearchablePassages, k: int) -> None:
        super().__init__()
        self._knowledge, self._k = knowledge, k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(
                node=TextNode(
                    id_=passage.id,
                    text=passage.text,
                    metadata=passage_metadata(passage),
                    start_char_idx=passage.start,
                    end_char_idx=passage.end,
                ),
                score=passage.score,
            )
            for passage in self._knowledge.search(query_bundle.query_str, self._k)
        ]


class LangChainRetriever(LangChainBase):
    """Passages as LangChain documents."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    knowledge: SearchablePassages
    k: int = 3

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[LangChainDocument]:
        return [
            LangChainDocument(page_content=passage.text, id=passage.id, metadata=passage_metadata(passage))
            for passage in self.knowledge.search(query, self.k)
        ]


def passage_metadata(passage: Passage) -> dict[str, str | int | float | None]:
    """Where a passage stands, as the plain values that both libraries want."""
    return {
        "source": passage.source,
        "heading": " > ".join(passage.heading),
        "page": passage.page,
        "start": passage.start,
        "end": passage.end,
        "score": passage.score,
    }
