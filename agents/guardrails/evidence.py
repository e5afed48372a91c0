"""How much of an answer stands in its source: numbers for the groundedness head. Words are compared by their stems.

What is measured is written down in `NAMES`, in order. Comparing meanings with the embedder was tried as well: it costs
fifty milliseconds and does not make the head better (docs/tools.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

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


def evidence(answer: str, source: str) -> list[float]:
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
