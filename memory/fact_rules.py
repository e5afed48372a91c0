"""English rules: what of a turn says something, and the facts in it. No model, and no other language.

*Statements* are a text's sentences without questions, requests, greetings and secrets. A text that only asks or orders
says nothing; in one that does both, the statements count when the speaker is in them, so that "The display shows F-112.
What now?" is a task and not a fact about the user.

*Facts*: the rules take sentences such as "Remember that …", "My name is …", "I prefer …", "We use …": each is a fact of
its own. The other statements of a turn are put together, up to as many words as the embedder reads: a sentence alone
("It was posted three days ago.") is not found again, the same sentence with those around it is (docs/log-memory.md).

Some word lists were written with the conversations of `memory_bfcl` in view; docs/memory.md says what that means for
its figures.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from ..core.text import sentences, terms
from .forgetting import forget_request
from .secrets import without_secrets

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
    parts = [*without_secrets(text)]
    kept = [statement for part in parts if (statement := _statement(part))]
    if any(_SPEAKER.search(part) and not _WISH.search(part) for part in kept) or (parts and _NOTE.search(parts[0])):
        return kept
    if any(map(_REMEMBER.search, kept)):
        return kept
    only_tells = len(kept) == len(parts) and all(_TELLING.search(part) and not _WISH.search(part) for part in kept)
    return kept if only_tells else []


def _statement(sentence: str) -> str:
    """The sentence, or of a question the clause before it where the speaker tells something; else nothing."""
    sentence = _LEAD.sub("", sentence)
    if asks(sentence):
        clauses = _CLAUSE.split(sentence)
        sentence = clauses[0] if len(clauses) > 1 and re.match(r"(?:I|we|my|our)\b", clauses[0], re.IGNORECASE) else ""
    if _REQUEST.search(sentence) or forget_request(sentence):
        return ""
    least = 1 if re.match(r"(?:I|we|call me)\s", sentence, re.IGNORECASE) else 2
    return sentence if len(terms(sentence)) >= least else ""


FACT_WORDS = 160
"""Words of one extracted fact at most: MiniLM reads 256 tokens."""

How = Literal["said", "extracted", "added"]
"""By rule, by the extractor, or by hand."""

_REMEMBER = re.compile(
    r"^\W*(?:please\s+)?(?:remember|note|keep in mind|do(?:n't|n’t| not) forget|make a note|for the record)\b[,:]?\s*"
    r"(?:that\b\s*)?(?!to\b|when\b|how\b)(?=\S)",
    re.IGNORECASE,
)
_THING = r"(?P<thing>[^\W\d][\w'’ -]{0,40}?)"
_HEADS = (
    "name nickname age birthday address email e-mail phone mobile number title role job profession manager boss team "
    "department employer company city hometown office desk language timezone diet budget deadline model size username "
    "handle password-manager browser editor unit"
)
_ATTRIBUTES = (
    (re.compile(r"^(?:you can |please )?call me \S", re.IGNORECASE), "name"),
    (re.compile(r"^I(?:'m|’m| am) (?:now )?\d{1,3}(?: years old)?\W*$", re.IGNORECASE), "age old"),
    (re.compile(r"^I (?:now |currently )?live (?:in|at|near)\b", re.IGNORECASE), "home live"),
    (re.compile(r"^I(?:'ve|’ve| have)?(?: just)? moved to\b", re.IGNORECASE), "home live"),
    (re.compile(r"^I (?:now |currently )?work as\b", re.IGNORECASE), "work as"),
    (re.compile(r"^I (?:now |currently )?work (?:for|at)\b", re.IGNORECASE), "work at"),
    (re.compile(rf"^(?:my|our) {_THING} (?:is|are|'s|’s) (?:now |called )?\S", re.IGNORECASE), ""),
    (re.compile(r"^we (?:now )?use .{1,40}? (?P<thing>(?:for|as) .+)$", re.IGNORECASE), "we use"),
    (re.compile(r"^I (?:now )?prefer .{1,40}? (?P<thing>(?:for|when|in) .+)$", re.IGNORECASE), "prefer"),
)
_PLAIN = re.compile(r"^(?:I (?:now )?prefer|we (?:now )?use|I(?:'m|’m| am) allergic to|my favou?rite)\b", re.IGNORECASE)


class NewFact(NamedTuple):
    """A fact as it stands in a turn."""

    text: str
    how: How


def extract_facts(text: str) -> list[NewFact]:
    """The facts in a user's turn; empty when it only asks or orders.

    >>> extract_facts("Please remember that gate 3 opens at six. My name is Anna. How long is the pool open?")
    [NewFact(text='gate 3 opens at six.', how='said'), NewFact(text='My name is Anna.', how='said')]
    """
    ruled: list[NewFact] = []
    rest: list[str] = []
    for sentence in dict.fromkeys(statements(text)):
        plain = _REMEMBER.sub("", sentence, count=1)
        if plain != sentence or attribute(sentence) or _PLAIN.search(sentence):
            ruled.append(NewFact(plain, "said"))
        else:
            rest.append(sentence)
    return ruled + [NewFact(group, "extracted") for group in _groups(rest)]


def attribute(sentence: str) -> str | None:
    """What a sentence gives the value of, where there can be only one; a later sentence about it replaces this one.

    >>> attribute("My dog's name is Rex."), attribute("I now live in Porto."), attribute("My dog is fun.")
    ('dog name', 'home live', None)
    """
    for pattern, name in _ATTRIBUTES:
        match = pattern.search(sentence)
        if match is None:
            continue
        thing = match.groupdict().get("thing")
        if thing is None or name:
            return f"{name} {' '.join(terms(thing or ''))}".strip()
        words = thing.lower().replace("’", "'").split()
        if words[-1] in _HEADS.split() or words[0] in ("favorite", "favourite", "preferred", "new"):
            words = [word.replace("favourite", "favorite") for word in words if word != "new"]
            return " ".join(terms(" ".join(words)))
    return None


def about(text: str) -> str:
    """The attributes that a fact gives the values of; helps to find "Call me Ann." by "What is my name?".

    >>> about("Call me Ann. I like tea.")
    'name'
    """
    return "; ".join(dict.fromkeys(name for sentence in sentences(text) if (name := attribute(sentence))))


def _groups(parts: list[str]) -> list[str]:
    groups: list[list[str]] = []
    words = FACT_WORDS
    for sentence in parts:
        count = len(sentence.split())
        if words + count > FACT_WORDS:
            groups.append([])
            words = 0
        groups[-1].append(sentence)
        words += count
    return [" ".join(group) for group in groups]
