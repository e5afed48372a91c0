"""Style `free`: a short answer in the model's own words, with the sentence that supports it as citation."""

from __future__ import annotations

from ..grounding import supporting_sentence
from ..prompt import NOT_FOUND
from ..work import Draft, Work


def free(work: Work) -> Draft:
    """Without knowledge the model answers by itself; with it, an answer without support counts as not found."""
    reply = work.ask(work.prompt("free"))
    if not reply.text or reply.text.lower().startswith(NOT_FOUND):
        return Draft(text=NOT_FOUND, found=False, certainty=reply.certainty)
    if work.card.knowledge is None:
        return Draft(text=reply.text, found=True, certainty=reply.certainty)
    citation = supporting_sentence(reply.text, work.passages)
    citations = () if citation is None else (citation,)
    return Draft(text=reply.text, found=bool(citations), citations=citations, certainty=reply.certainty)
