"""Words as BM25 sees them: lower case, stemmed, without function words; identifiers stay whole."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import Stemmer

_WORD = re.compile(r"\w+(?:[-./_'’:]\w+)*")
_PART = re.compile(r"[^\W_]+")
_ENGLISH = Stemmer.Stemmer("english")
_FUNCTION_WORDS = """
a about all also an and any are as at be because been being both but by can could did do does doing down for from had
has have having he her here hers him his how i if in into is it its itself just me more most my no nor not of off on
once only or other our out over own please same she should so some such tell than that the their them then there these
they this those through to too under until up us very was we were what when where which while who whom why will with
would you your
"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split())


def terms(text: str) -> list[str]:
    """The terms of a text, in order.

    `P-101` gives `p101` and its parts, so it is found by `P-101`, `p101` and `p 101`.

    >>> terms("Which pumps use the SP-07 seals?")
    ['pump', 'use', 'sp07', 'sp', '07', 'seal']
    """
    plain = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return [term for word in _WORD.findall(plain) for term in _word_terms(word)]


@lru_cache(maxsize=200_000)
def _word_terms(word: str) -> tuple[str, ...]:
    parts = _PART.findall(word.removesuffix("'s").removesuffix("’s"))
    whole = "".join(parts)
    if len(parts) > 1:
        return (whole, *(_stem(part) for part in parts if part not in STOPWORDS))
    return (_stem(whole),) if whole and whole not in STOPWORDS else ()


def _stem(word: str) -> str:
    return word if any(map(str.isdigit, word)) else _ENGLISH.stemWord(word)
