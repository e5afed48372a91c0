"""Is an answer supported by what it cites? A small head over `evidence`: a tenth of a millisecond."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...core.types import Value
from .guard import Check, GuardContext, Verdict, passed, refused

# How much of an answer stands in its source: numbers for the groundedness head. Words are compared by their stems.


NAMES = (
    "words",  # share of content words that the source has
    "words_weakest",  # the same, of the weakest sentence
    "new_words",  # log of 1 + the content words that it has not
    "new_words_most",  # the same, of the worst sentence
    "all_words",  # share of all words, with function words
    "all_words_weakest",
    "pairs",  # share of neighbouring words that are neighbours there
    "pairs_weakest",
    "run",  # longest stretch taken over, as a share of the answer
    "new_numbers",  # log of 1 + the numbers that the source has not
    "speaks_of_itself",  # I, my, we
    "speaks_to_you",
    "asks",
    "length",  # log of 1 + words
)


_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?")


_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


_FUNCTION = frozenset(
    re.findall(
        r"\w+",
        """
        a an the of to in on at by for with from as is are was were be been being am it its they them their he she his
        her him this that these those and or but so if then than there here have has had do does did can could will
        would may might also just very not no yes you your i my me we our us which who whom what when where how s re ve
        """,
    )
)


_SELF = frozenset(("i", "my", "me", "we", "our", "us", "i'm", "i've"))


_ENDINGS = ("'s", "ies", "ing", "ed", "es", "s", "ly", "er")


def claim_evidence(answer: str, source: str) -> list[float]:
    """The measures of `NAMES` for an answer and the text it is meant to rest on."""
    words = _words(answer)
    stems, known = [*map(_stem, words)], [*map(_stem, _words(source))]
    parts = [p for p in _SENTENCE.split(answer) if _WORD.search(p)] or [answer]
    overlaps = [_overlap([*map(_stem, _words(part))], known) for part in parts]
    whole = _overlap(stems, known)
    numbers = {w for w in words if w[0].isdigit()} - set(_words(source))
    return [
        whole[0],
        min(o[0] for o in overlaps),
        np.log1p(whole[1]),
        np.log1p(max(o[1] for o in overlaps)),
        whole[2],
        min(o[2] for o in overlaps),
        whole[3],
        min(o[3] for o in overlaps),
        _longest_run(stems, known) / max(1, len(stems)),
        np.log1p(len(numbers)),
        float(not _SELF.isdisjoint(words)),
        float("you" in words or "your" in words),
        float("?" in answer),
        np.log1p(len(words)),
    ]


def weakest_sentence(answer: str, source: str) -> str:
    """The sentence with the smallest share of its content words in the source."""
    known = [*map(_stem, _words(source))]
    parts = [p for p in _SENTENCE.split(answer) if _WORD.search(p)] or [answer]
    return min(parts, key=lambda part: _overlap([*map(_stem, _words(part))], known)[0]).strip()


def _overlap(stems: Sequence[str], known: Sequence[str]) -> tuple[float, int, float, float]:
    """Share of content words found, how many were not, share of all words found, share of pairs found."""
    vocabulary, neighbours = set(known), set(pairwise(known))
    content = [w for w in stems if w not in _FUNCTION]
    pairs = [*pairwise(stems)]
    return (
        _share(sum(w in vocabulary for w in content), len(content)),
        sum(w not in vocabulary for w in content),
        _share(sum(w in vocabulary for w in stems), len(stems)),
        _share(sum(p in neighbours for p in pairs), len(pairs)),
    )


def _longest_run(stems: Sequence[str], known: Sequence[str]) -> int:
    """Length of the longest stretch of words that both have (dynamic programming, one row at a time)."""
    best, before = 0, [0] * (len(known) + 1)
    for word in stems:
        row = [0] * (len(known) + 1)
        for place, other in enumerate(known, 1):
            if word == other:
                row[place] = before[place - 1] + 1
        best, before = max(best, max(row)), row
    return best


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace(" '", "'").replace(" n't", "n't"))


def _stem(word: str) -> str:
    """A light stemmer: enough to let `bearings` meet `bearing`."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


HEAD = Path(__file__).parent / "heads" / "grounded.json"


REFUSE_BELOW = 0.1
"""Answers below this are held back. Lower than 0.5, since holding back a good answer costs more than one odd phrase."""


class GroundedHead(Value):
    """Logistic regression: weight by measure, in the order of `NAMES`."""

    weights: dict[str, float]
    bias: float

    def probability(self, measures: list[float]) -> float:
        """How probable it is that the answer is supported."""
        logit = self.bias + sum(self.weights[n] * m for n, m in zip(NAMES, measures, strict=True))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))


@lru_cache(maxsize=1)
def shipped() -> GroundedHead:
    """The head that comes with metier."""
    return GroundedHead.model_validate_json(HEAD.read_bytes())


def support(answer: str, source: str, head: GroundedHead | None = None) -> float:
    """Probability that all of an answer is supported by a source, 0 to 1."""
    return (head or shipped()).probability(claim_evidence(answer, source))


def grounded(refuse_below: float = REFUSE_BELOW) -> Check:
    """The guard: hold back an answer that its citations do not support. An answer without citations passes."""

    def check(text: str, context: GuardContext) -> Verdict:
        source = "\n".join(c.quote for c in context.citations)
        if not source or not text.strip():
            return passed(text)
        probability = support(text, source)
        if probability >= refuse_below:
            return passed(text, probability)
        return refused(text, f"the sources do not support '{weakest_sentence(text, source)[:120]}'", probability)

    return check
