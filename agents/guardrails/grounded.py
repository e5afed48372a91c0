"""Is an answer supported by what it cites? A small head over `claim_evidence`: a tenth of a millisecond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from ...core.text import STOPWORDS, plain_words, sentences, stem
from ...core.types import Logistic
from .guard import HEADS, Check, GuardContext, Verdict, passed, refused

GROUNDED_FILE = HEADS / "grounded.json"
_REFUSE_BELOW = 0.1
"""Answers below this are held back. Lower than 0.5, since holding back a good answer costs more than one odd phrase."""
_SELF = frozenset(("i", "my", "me", "we", "our", "us"))


def claim_evidence(answer: str, source: str) -> dict[str, float]:
    """How much of an answer stands in the text that it is meant to rest on; words are compared by their stems.

    `words` is the share of its content words that the source has, `new_words` how many it has not, `all_words` counts
    function words, too, `pairs` neighbouring words that are neighbours there; each also of the worst sentence. `run` is
    the longest stretch that was taken over, as a share of the answer. Counts are logarithms of 1 + the number.
    """
    words, source_words = plain_words(answer), plain_words(source)
    stems, known = _stems(words), _stems(source_words)
    whole, parts = _overlap(answer, known), [_overlap(part, known) for part in _parts(answer)]
    numbers = {word for word in words if word[0].isdigit()} - set(source_words)
    return {
        "words": whole.words,
        "words_weakest": min(part.words for part in parts),
        "new_words": math.log1p(whole.new),
        "new_words_most": math.log1p(max(part.new for part in parts)),
        "all_words": whole.all_words,
        "all_words_weakest": min(part.all_words for part in parts),
        "pairs": whole.pairs,
        "pairs_weakest": min(part.pairs for part in parts),
        "run": _longest_run(stems, known) / max(1, len(stems)),
        "new_numbers": math.log1p(len(numbers)),
        "speaks_of_itself": float(not _SELF.isdisjoint(words)),
        "speaks_to_you": float("you" in words or "your" in words),
        "asks": float("?" in answer),
        "length": math.log1p(len(words)),
    }


def weakest_sentence(answer: str, source: str) -> str:
    """The sentence with the smallest share of its content words in the source."""
    known = _stems(plain_words(source))
    return min(_parts(answer), key=lambda part: _overlap(part, known).words)


def _parts(answer: str) -> list[str]:
    """The answer's sentences that hold words; all of it when none does."""
    return [sentence for sentence in sentences(answer) if plain_words(sentence)] or [answer]


def _stems(words: Sequence[str]) -> list[str]:
    return [stem(word) for word in words]


class _Overlap(NamedTuple):
    """Shares of what a source has: content words, all words, pairs; and how many content words are `new`."""

    words: float
    new: int
    all_words: float
    pairs: float


def _overlap(text: str, known: Sequence[str]) -> _Overlap:
    vocabulary, neighbours = set(known), set(pairwise(known))
    words = plain_words(text)
    stems, content = _stems(words), _stems([word for word in words if word not in STOPWORDS])
    pairs = [*pairwise(stems)]
    return _Overlap(
        _share(sum(word in vocabulary for word in content), len(content)),
        sum(word not in vocabulary for word in content),
        _share(sum(word in vocabulary for word in stems), len(stems)),
        _share(sum(pair in neighbours for pair in pairs), len(pairs)),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


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


@cache
def grounded_head() -> Logistic:
    """The head that comes with metier."""
    return Logistic.model_validate_json(GROUNDED_FILE.read_bytes())


def support(answer: str, source: str, head: Logistic | None = None) -> float:
    """Probability (0 to 1) that all of an answer is supported by a source."""
    return (head or grounded_head()).probability(claim_evidence(answer, source))


def grounded(refuse_below: float = _REFUSE_BELOW) -> Check:
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
