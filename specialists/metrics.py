"""How good an answer is: the measures that the field uses for short answers (SQuAD, Rajpurkar et al., 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case without punctuation, articles and extra white space.

    >>> normalise("The  pump, P-101!")
    'pump p101'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 when the normalised answer is one of the references, otherwise 0."""
    return float(normalise(answer) in {normalise(r) for r in references})


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words, for the best of the references (0 to 1)."""
    return max((_f1(normalise(answer).split(), normalise(r).split()) for r in references), default=0.0)


def _f1(answer: list[str], reference: list[str]) -> float:
    common = sum((Counter(answer) & Counter(reference)).values())
    if not common:
        return float(answer == reference)
    return 2 * common / (len(answer) + len(reference))
