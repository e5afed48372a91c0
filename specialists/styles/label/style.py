"""Style `label`: one of the card's labels."""

from __future__ import annotations

from ...engines.engine import OneOf
from ...work import Draft, Work


def label(work: Work) -> Draft:
    """The most probable label, by the specialist's head if it has one; `data` holds it for programs."""
    labels = work.card.labels
    if work.likely is not None:
        chances = work.likely(work.brief.task)
        best = max(chances, key=chances.__getitem__)
        return Draft(text=best, found=True, data=best, probability=chances[best])
    reply = work.ask(work.prompt("label", labels=labels), OneOf(labels))
    return Draft(
        text=reply.text,
        found=reply.text in labels,
        data=reply.text,
        certainty=reply.certainty,
        probability=reply.options.get(reply.text),
    )


TOGETHER = 4
"""Texts that share one list of labels in a prompt."""
