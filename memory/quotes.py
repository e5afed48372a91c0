"""Of recalled facts, the sentences that bear on a question: a few words to read instead of whole turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.embedding import Embedder
from ..core.terms import terms
from ..core.types import Value
from .fact import Fact, Recalled
from .relevance import Indexed, relevance
from .statements import sentences

SENTENCES = 4
"""Sentences that are chosen, of all facts together."""
AROUND = 1
"""Sentences before and after a chosen one that are quoted with it: "It was posted three days ago." says what was."""
WHOLE = 25
"""Facts of at most so many words are quoted as they are."""


class Quote(Value):
    """What a user said, word for word."""

    text: str
    """Neighbouring sentences; gaps are marked with `…`."""
    fact: Fact
    relevance: float
    """Of the fact, about 0 to 1."""


def quotes(query: str, facts: Sequence[Recalled], embedder: Embedder) -> list[Quote]:
    """The sentences that answer best, in the order of their facts; facts without one of them are left out."""
    parts = [[one.fact.text] if len(one.fact.text.split()) <= WHOLE else sentences(one.fact.text) for one in facts]
    flat = [(row, at) for row, part in enumerate(parts) for at in range(len(part))]
    texts = [parts[row][at] for row, at in flat]
    vectors = embedder.embed([query, *texts])
    indexed = [Indexed(vector[None, :], terms(text)) for vector, text in zip(vectors[1:], texts, strict=True)]
    scores = relevance(query, vectors[0], indexed) + np.array([facts[row].relevance for row, _ in flat])
    best = [flat[i] for i in np.argsort(-scores, kind="stable")[:SENTENCES]]
    kept = {(row, at + step) for row, at in best for step in range(-AROUND, AROUND + 1)}
    found = []
    for row, (fact, score) in enumerate(facts):
        chosen = [at for at in range(len(parts[row])) if (row, at) in kept]
        if chosen:
            found.append(Quote(text=_joined(parts[row], chosen), fact=fact, relevance=score))
    return found


def _joined(parts: Sequence[str], chosen: Sequence[int]) -> str:
    text, last = "", chosen[0]
    for at in chosen:
        text += (" " if at == last + 1 else " … ") * bool(text) + parts[at]
        last = at
    return text
