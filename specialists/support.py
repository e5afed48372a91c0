"""Which words of a source support an answer: the citation of answers in free wording, and the measure behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ..core.types import Citation, Passage
from .knowledge.citation import cite

_WORD = re.compile(r"[^\W_]+(?:[-.][^\W_]+)*")
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]?")
_COMMON = frozenset(
    (
        "a about all also an and any are as at be been before by can could did do does for from get give go had "
        "has have how i if in into is it its just like made make many may me more most much must my need needs no "
        "not of off on one or our out over please shall should so some such take tell than that the their them "
        "then there these they this those to too under up us use used was we were what when where which while who "
        "whom whose why will with would you your "
    ).split()
)


def content_words(text: str) -> list[str]:
    """The words that carry meaning, in lower case, in order; codes such as `p-101` stay whole.

    >>> content_words("How often is the pump P-101 greased?")
    ['often', 'pump', 'p-101', 'greased']
    """
    return [w for w in (m[0].lower() for m in _WORD.finditer(text)) if w not in _COMMON]


def codes(text: str) -> set[str]:
    """Names of parts, machines and alarms: words with letters and digits.

    >>> codes("FL-2 shows F-112 again")  == {"fl-2", "f-112"}
    True
    """
    return {w for w in content_words(text) if any(c.isdigit() for c in w) and any(c.isalpha() for c in w)}


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A crude common form, so that `greased`, `greasing` and `grease` meet. Codes with digits stay as they are."""
    if any(c.isdigit() for c in word):
        return word
    for ending in ("ings", "ing", "ies", "ied", "es", "ed", "ly", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def coverage(words: Iterable[str], text: str) -> float:
    """Share of the words (0 to 1) that occur in the text, by their stems. No words: 1."""
    asked = {stem(w) for w in words}
    if not asked:
        return 1.0
    present = {stem(w) for w in content_words(text)}
    return len(asked & present) / len(asked)


def sentences(text: str) -> list[str]:
    """Sentences and lines, trimmed."""
    return [s for s in (m[0].strip() for m in _SENTENCE.finditer(text)) if s]


def supporting_sentence(answer: str, passages: Sequence[Passage], least: float = 0.5) -> Citation | None:
    """The sentence of the passages that covers most of the answer's content words; None below `least`."""
    words = content_words(answer)
    best: tuple[float, str, Passage] | None = None
    for passage in passages:
        for sentence in sentences(passage.text):
            share = coverage(words, sentence)
            if best is None or share > best[0]:
                best = (share, sentence, passage)
    if best is None or best[0] < least:
        return None
    return cite(best[1], [best[2]])


def with_context(citation: Citation, passages: Sequence[Passage]) -> Citation:
    """The citation with the sentences or lines that its quote stands in, for people who want to see more of it."""
    passage = next((p for p in passages if p.id == citation.passage), None)
    if passage is None:
        return citation
    start, end = citation.start - passage.start, citation.end - passage.start
    spans = [m.span() for m in _SENTENCE.finditer(passage.text)]
    touched = [span for span in spans if span[0] < end and span[1] > start]
    if not touched:
        return citation
    return citation.model_copy(update={"context": passage.text[touched[0][0] : touched[-1][1]].strip()})
