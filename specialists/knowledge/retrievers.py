"""A specialist's knowledge as a retriever of llama-index and of LangChain, to use it in their chains."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever as LangChainBase
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexBase
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from pydantic import ConfigDict

from ...core.types import Passage


@runtime_checkable
class Searchable(Protocol):
    """What both need: `Knowledge.search`."""

    def search(self, query: str, k: int) -> list[Passage]: ...


class LlamaIndexRetriever(LlamaIndexBase):
    """Passages as llama-index nodes."""

    def __init__(self, knowledge: Searchable, k: int) -> None:
        super().__init__()
        self._knowledge, self._k = knowledge, k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(
                node=TextNode(
                    id_=passage.id,
                    text=passage.text,
                    metadata=metadata(passage),
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

    knowledge: Searchable
    k: int = 3

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [
            Document(page_content=passage.text, id=passage.id, metadata=metadata(passage))
            for passage in self.knowledge.search(query, self.k)
        ]


def metadata(passage: Passage) -> dict[str, str | int | float | None]:
    """Where a passage stands, as the plain values that both libraries want."""
    return {
        "source": passage.source,
        "heading": " > ".join(passage.heading),
        "page": passage.page,
        "start": passage.start,
        "end": passage.end,
        "score": passage.score,
    }
