"""Style `quote`: the answer is a run of words that stands in a passage, or 'not found'."""

from __future__ import annotations

from ...core.text import terms
from ..engines.engine import Quote
from ..knowledge.citation import cite
from ..prompt import NOT_FOUND
from ..work import Draft, Work


def quote(work: Work) -> Draft:
    """Let the model point at the answer; what it says is verified against the passages, whoever the engine is."""
    if not work.passages:
        return Draft(text=NOT_FOUND, found=False)
    reply = work.ask(work.prompt("quote"), Quote(texts=work.texts))
    citation = None if _declines(reply.text) else cite(reply.text, work.passages)
    if citation is None:
        return Draft(text=reply.text or NOT_FOUND, found=False, certainty=reply.certainty)
    return Draft(text=citation.quote, found=True, citations=(citation,), certainty=reply.certainty)


def _declines(said: str) -> bool:
    """Whether a quote is "not found", or holds no word that carries meaning.

    The grammar allows runs of the passages' words only: of a "not found" that the model is sure of, it lets the "not"
    through wherever a passage has one.
    """
    return not terms(said) or said.lower() == NOT_FOUND
