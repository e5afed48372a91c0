"""Evaluation questions that slipped in among examples: the same words, or nearly the same meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ...core.embedding import Embedder
from ..metrics import normalise

ALIKE = 0.9
"""Cosine from which two questions are the same. Among the plant's 341 examples and 157 evaluation questions, which
were written apart, the highest is 0.87; a question in another order of words has 0.96. True paraphrases in other words
can lie below: nothing finds them all."""

_NUMBER = re.compile(r"[^\W_]*\d[^\W_]*")


def leaked(tasks: Sequence[str], held_out: Sequence[str], embedder: Embedder) -> dict[int, str]:
    """Place of a task to the evaluation question that it repeats; empty when none does.

    Questions that name other numbers or codes are not the same, however alike they are: "shelf of P-1011" and "shelf of
    P-1012" have different answers.
    """
    if not tasks or not held_out:
        return {}
    plain = {normalise(question): question for question in held_out}
    found = {n: plain[text] for n, task in enumerate(tasks) if (text := normalise(task)) in plain}
    near = embedder.embed(tasks) @ embedder.embed(held_out).T
    for place, other in np.argwhere(near >= ALIKE).tolist():
        if _numbers(tasks[place]) == _numbers(held_out[other]):
            found.setdefault(place, held_out[other])
    return dict(sorted(found.items()))


def _numbers(text: str) -> set[str]:
    return {word.lower() for word in _NUMBER.findall(text)}
