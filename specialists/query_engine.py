"""A team or a specialist as a query engine of llama-index: for its chat engines, routers and evaluators."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import Response
from llama_index.core.callbacks import CallbackManager
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from ..core.types import Answer, Citation


class QueryEngine(BaseQueryEngine):
    """`QueryEngine(team).query("…")` gives a llama-index `Response`.

    Its `source_nodes` are the citations (of an abstention, the evidence), each with the sentence it stands in; its
    `metadata` says what kind of answer it is, who gave it and how sure it is.

    Args:
        who: A `Team` or a `Specialist`.
    """

    def __init__(self, who: Runnable[LanguageModelInput, Answer]) -> None:
        super().__init__(CallbackManager())
        self._who = who

    def _query(self, query_bundle: QueryBundle) -> Response:
        return _response(self._who.invoke(query_bundle.query_str))

    async def _aquery(self, query_bundle: QueryBundle) -> Response:
        return _response(await self._who.ainvoke(query_bundle.query_str))

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}


def _response(answer: Answer) -> Response:
    about = answer.model_dump(mode="json", include={"kind", "specialist", "version", "confidence", "reason"})
    return Response(answer.text, _nodes(answer.citations or answer.evidence, answer.confidence), about)


def _nodes(citations: Sequence[Citation], score: float) -> list[NodeWithScore]:
    return [
        NodeWithScore(
            node=TextNode(
                id_=f"{citation.source}:{citation.start}-{citation.end}",
                text=citation.context or citation.quote,
                metadata={
                    **citation.model_dump(include={"source", "quote", "page"}),
                    "heading": " > ".join(citation.heading),
                },
                start_char_idx=citation.start,
                end_char_idx=citation.end,
            ),
            score=score,
        )
        for citation in citations
    ]
