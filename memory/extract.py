"""From what a user says to facts: by rule where the words are plain, else by a small extractor.

The rules take sentences such as "Remember that …", "My name is …", "I prefer …", "We use …": each is a fact of its own.
The extractor puts the other statements of a turn together, up to as many words as the embedder reads: a sentence alone
("It was posted three days ago.") is not found again, the same sentence with those around it is (docs/log-memory.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ..core.terms import terms
from .statements import sentences, statements

WORDS = 160
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
_FURTHER = re.compile(r",?\s+(?:and|but|so)\s+(?=(?:I|we|my|our|this|it)\b)", re.IGNORECASE)
_PLAIN = re.compile(r"^(?:I (?:now )?prefer|we (?:now )?use|I(?:'m|’m| am) allergic to|my favou?rite)\b", re.IGNORECASE)


class Found(NamedTuple):
    """A fact as it stands in a turn."""

    text: str
    how: How


def extract(text: str) -> list[Found]:
    """The facts in a user's turn; empty when it only asks or orders.

    >>> extract("Please remember that gate 3 opens at six. My name is Anna. How long is the pool open?")
    [Found(text='gate 3 opens at six.', how='said'), Found(text='My name is Anna.', how='said')]
    """
    ruled: list[Found] = []
    rest: list[str] = []
    for sentence in dict.fromkeys(statements(text)):
        plain = _REMEMBER.sub("", sentence, count=1)
        if plain != sentence or attribute(sentence) or _PLAIN.search(sentence):
            ruled.append(Found(plain, "said"))
        else:
            rest.append(sentence)
    return ruled + [Found(group, "extracted") for group in _groups(rest)]


def attribute(sentence: str) -> str | None:
    """What a sentence gives the value of, where there can be only one; a later sentence about it replaces this one.

    >>> attribute("My dog's name is Rex."), attribute("I now live in Porto."), attribute("My dog is fun.")
    ('dog name', 'home live', None)
    """
    for pattern, name in _ATTRIBUTES:
        found = pattern.search(sentence)
        if found is None:
            continue
        thing = found.groupdict().get("thing")
        if thing is None or name:
            return f"{name} {' '.join(terms(thing or ''))}".strip()
        words = thing.lower().replace("’", "'").split()
        if words[-1] in _HEADS.split() or words[0] in ("favorite", "favourite", "preferred", "new"):
            words = [word.replace("favourite", "favorite") for word in words if word != "new"]
            return " ".join(terms(" ".join(words)))
    return None


def signature(sentence: str) -> tuple[str, ...]:
    """The same for two sentences that say the same in nearly the same words; numbers and negations count."""
    negated = re.findall(r"\b(?:not|no|never)\b|n['’]t\b", sentence.lower())
    return (*terms(sentence), *(["not"] * len(negated)))


def about(text: str) -> str:
    """The attributes that a fact gives the values of; helps to find "Call me Ann." by "What is my name?".

    >>> about("Call me Ann. I like tea.")
    'name'
    """
    return "; ".join(dict.fromkeys(name for sentence in sentences(text) if (name := attribute(sentence))))


class Update:
    """What sentences that are said now do to older facts.

    >>> Update(["Call me Bea."]).of("My name is Ann and I ride a Domane.")
    'I ride a Domane.'
    """

    def __init__(self, said: Sequence[str]) -> None:
        self._same = {signature(one) for one in said}
        self._replaced = {name for one in said if (name := attribute(one))}

    def of(self, old: str) -> str:
        """The older fact without what they repeat or replace; empty when nothing is left of it."""
        left: list[str] = []
        for sentence in sentences(old):
            if self._replaced and attribute(sentence) in self._replaced:
                further = _FURTHER.search(sentence)
                left += [sentence[further.end() :]] if further else []
            elif signature(sentence) not in self._same:
                left.append(sentence)
        return " ".join(left)


def _groups(said: list[str]) -> list[str]:
    groups: list[list[str]] = []
    words = WORDS
    for sentence in said:
        count = len(sentence.split())
        if words + count > WORDS:
            groups.append([])
            words = 0
        groups[-1].append(sentence)
        words += count
    return [" ".join(group) for group in groups]
