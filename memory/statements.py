"""What of a text says something: its sentences without questions, requests, greetings and secrets.

Rules for English, no model. A text that only asks or orders says nothing; in one that does both, the statements count
when the speaker is in them, so that "The display shows F-112. What now?" is a task and not a fact about the user.
"""

from __future__ import annotations

import re

from ..core.terms import terms

_END = re.compile(r"[.!?][\"”’')\]]*\s+|\s*\n\s*")
_ABBREVIATION = re.compile(r"(?:\b(?:mr|mrs|ms|dr|prof|st|vs|e\.g|i\.e|cf)|\b[A-Z])\.$", re.IGNORECASE)
_SHORTENED = re.compile(r"\b(?:[ap]\.m|inc|ltd|etc|approx|no)\.$", re.IGNORECASE)
"""Ends a sentence when a capital follows, else not."""
_TELLS = r"(?:is|are|was|were|has|have|had|will|won't|isn't|aren't|cannot|can't|must)"
_TELLING = re.compile(rf"\b{_TELLS}\b", re.IGNORECASE)
_SPEAKER = re.compile(rf"\b(?:I|we)\b|\b(?:my|our|me|us)\b.*\b{_TELLS}\b|^\W*call me\b", re.IGNORECASE)
_WISH = re.compile(
    r"^\W*(?:now,? )?(?:I|we)(?: (?:want|need|wish)|(?:'d|’d| would)(?: really)? (?:like|love))\b", re.IGNORECASE
)
_BE = r"(?:is|are|am|was|were|do|does|did|can|could|should|would|will|have|has|may)"
_ASKS = re.compile(
    rf"^(?:\W*(?:and|so|but|also)\b\W*)*(?:(?:what|who|whose|where|when|why|how|which)\s(?:{_BE}|many|much|often)\b|"
    rf"{_BE}\s(?:you|I|we|it|he|she|they|there|this|that|these|those|the|my|our|your|any|anybody|anyone|someone)\b)",
    re.IGNORECASE,
)
_WONDERS = re.compile(r"^(?:what|who|whom|whose|where|when|why|how|which)\b(?!\s+(?:I|we|my|our|it)\b)", re.IGNORECASE)
"""Begins like a question, but may be a statement when it ends like one."""
_LEAD = re.compile(
    r"^\W*(?:no|yes|ok|okay|well|actually|sorry|thanks|thank you|hi|hello|hey|good (?:morning|evening))\b[^,.!—]{0,20}"
    r"[,.!—]\s*",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    r"^\W*(?:please(?! (?:remember|note|keep|make|don))|forget|ignore|tell|show|give|name|list|describe|"
    r"explain|remind me|calculate|return|answer|translate|let me know|help me|"
    r"thanks|looking forward to|if (?:so|not)|thank you|hi|hello|hey|bye|cheers)\b|"
    r"^\W*I (?:see|agree|know|understand|guess(?: so)?|hope so|think so)\W*$",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"\s*[—;]\s*|,\s+(?=(?:(?:so|and|but)\s+)?(?:what|who|where|when|how|which|could|can|do|is)\b)")
_NOTE = re.compile(r"^\w[\w&/' -]{0,30}(?::|\s?[—–])\s*\S")
_SECRET = re.compile(
    r"\b(?:pass(?:word|code|phrase)|pin|cvv|cvc|(?:api|access|secret|private) ?(?:key|token)|secret|token)"
    r"(?: number| code)?\b[^.]{0,30}?(?:\bis\b|:|=)\s*\S",
    re.IGNORECASE,
)


def sentences(text: str) -> list[str]:
    """Sentences and lines, trimmed.

    >>> sentences("I see Dr. Lee at 3 p.m. today. “All good.” Thanks!")
    ['I see Dr. Lee at 3 p.m. today.', '“All good.”', 'Thanks!']
    """
    cuts, begin = [], 0
    for found in _END.finditer(text):
        before, lower = text[begin : found.start() + 1], text[found.end() : found.end() + 1].islower()
        if "\n" in found[0] or not (_ABBREVIATION.search(before) or (lower and _SHORTENED.search(before))):
            cuts.append(text[begin : found.end()])
            begin = found.end()
    return [cut for cut in (part.strip() for part in (*cuts, text[begin:])) if cut]


def asks(sentence: str) -> bool:
    """Is it a question, with or without its mark?"""
    bare = sentence.rstrip("\"”’') ")
    open_end = not bare.endswith((".", "!"))
    return bare.endswith("?") or bool(_ASKS.search(bare)) or (open_end and bool(_WONDERS.search(bare)))


def statements(text: str) -> list[str]:
    """The sentences of a text that say something worth keeping, in order.

    >>> statements("Hi! I ride a Trek Domane, what tyres fit? My budget is 200 euros.")
    ['I ride a Trek Domane', 'My budget is 200 euros.']
    """
    found = sentences(text)
    kept = [said for sentence in found if (said := _said(sentence))]
    if any(_SPEAKER.search(one) and not _WISH.search(one) for one in kept) or (found and _NOTE.search(found[0])):
        return kept
    only_tells = len(kept) == len(found) and all(_TELLING.search(one) and not _WISH.search(one) for one in kept)
    return kept if only_tells else []


def _said(sentence: str) -> str:
    """The sentence, or of a question the clause before it where the speaker tells something; else nothing."""
    sentence = _LEAD.sub("", sentence)
    if asks(sentence):
        clauses = _CLAUSE.split(sentence)
        sentence = clauses[0] if len(clauses) > 1 and re.match(r"(?:I|we|my|our)\b", clauses[0], re.IGNORECASE) else ""
    if _REQUEST.search(sentence) or _SECRET.search(sentence):
        return ""
    least = 1 if re.match(r"(?:I|we|call me)\s", sentence, re.IGNORECASE) else 2
    return sentence if len(terms(sentence)) >= least else ""
