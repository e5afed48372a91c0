"""What new sentences do to older facts: repeat them, replace a value, end what was so, or forget. English rules.

A sentence ends an older one when it denies it ("I no longer live in Porto.", "I don't eat meat any more.", "I gave up
coffee.") or names what took its place ("tea instead of coffee", "not on Monday but on Tuesday"): the older one must be
about the same person and hold all words of what has ended. The new sentence itself is what is remembered then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..core.text import sentences, terms
from .fact_rules import attribute
from .persons import whose

_FURTHER = re.compile(r",?\s+(?:and|but|so)\s+(?=(?:I|we|my|our|this|it)\b)", re.IGNORECASE)
_ENDED = re.compile(
    r"\bno longer\b|\b(?:not|never|no|nobody|\w*n['’]t)\b.*\b(?:any ?more|any longer)\b|"
    r"\b(?:stopped|quit|gave up|given up|cancell?ed|sold|used to|got rid of)\b|^\W*(?:I|we)(?:['’]ve| have)? left\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"\b(?:no longer|any ?more|any longer|not|no|never|already|actually|currently|now|today|stopped|quit|gave up|"
    r"given up|cancell?ed|sold|used to|got rid of|left|do|does|did|\w+n['’]t)\b",
    re.IGNORECASE,
)
_REASON = re.compile(r"(?:[,;—]|\b(?:because|since|after|but|as of|from now|so that)\b).*$", re.IGNORECASE | re.DOTALL)
_REPLACED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:instead of|rather than|in place of)\s+(?P<gone>[^,.;]+)",
        r"\b(?:switch|chang|mov|migrat|convert|went)\w*\s(?:over\s)?from\s+(?P<gone>.+?)\s+(?:over\s)?to\b",
        r"\breplac\w+\s+(?P<gone>.+?)\s+(?:with|by)\b",
        r"\bswap\w+\s+(?P<gone>.+?)\s+for\b",
        r"(?:\bnot|n['’]t)\s+(?P<gone>[^,.;]+?),?\s+but\b",
        r",\s+not\s+(?P<gone>[^,.;]+?)\W*$",
    )
)
_THING = re.compile(r"^\W*(?P<thing>(?:my|our)\s[\w'’ -]{1,40}?)\s(?:is|are)\s(?P<rest>.+)$", re.IGNORECASE)
_NOW = re.compile(r"\b(?:now|from now on|these days|at present)\b", re.IGNORECASE)
_KINDS = (
    ("thing", re.compile(r"(?:an?|the|my|our)\b", re.I)),
    ("place", re.compile(r"(?:in|at|on|near|behind)\b", re.I)),
)
_SHARE = 0.33
"""Of an older sentence's words so many must have ended, where nothing else says that both are about the same."""
_SHORTENED = re.compile(r"(?<=\w)['’](?:m|re|ve|s|d|ll)\b", re.IGNORECASE)
_CALLED = {"address": "home live", "job": "work", "employer": "work", "age": "old", "call": "name"}
"""What people say for the attributes of sentences that do not name them."""


def _words(text: str) -> frozenset[str]:
    return frozenset(terms(_SHORTENED.sub("", text))) - {"am"}


class _Ending(NamedTuple):
    """What is no longer so."""

    who: str
    gone: frozenset[str]
    """Words that all stand in the older sentence."""
    beside: frozenset[str]
    """What else the new sentence says."""

    def of(self, old: str) -> bool:
        words = _words(old)
        if not self.gone or not self.gone <= words or whose(old) != self.who:
            return False
        thing = _THING.search(old)
        about_it = thing is not None and _words(thing["thing"]) == self.gone
        if self.beside & words or about_it or len(self.gone) >= _SHARE * len(words):
            return True
        return len(self.gone) > 1 and not self.beside


def _endings(sentence: str) -> Iterator[_Ending]:
    who = whose(sentence)
    for found in filter(None, (pattern.search(sentence) for pattern in _REPLACED)):
        gone = _words(_DENIAL.sub(" ", _REASON.sub("", found["gone"])))
        yield _Ending(who, gone, _words(sentence) - gone)
    if _ENDED.search(sentence):
        yield _Ending(who, _words(_DENIAL.sub(" ", _REASON.sub("", sentence))), frozenset())


class Supersession:
    """What new sentences do to older facts.

    >>> Supersession(["Call me Bea."]).rest_of("My name is Ann and I ride a Domane.")
    'I ride a Domane.'
    >>> Supersession(["I no longer ride the Domane."]).rest_of("My name is Ann. I ride a Domane.")
    'My name is Ann.'
    """

    def __init__(self, new: Sequence[str]) -> None:
        self._same = {_signature(sentence) for sentence in new}
        self._replaced = {name for sentence in new if (name := attribute(sentence))}
        self._endings = [ending for sentence in new for ending in _endings(sentence)]
        self._things = {thing for sentence in new if _NOW.search(sentence) and (thing := _thing(sentence))}
        self._said = [(whose(sentence), _words(sentence)) for sentence in new if not _ENDED.search(sentence)]

    def rest_of(self, old: str) -> str:
        """The older fact without what they repeat, replace or end; empty when nothing is left of it."""
        otherwise = [sentence for sentence in sentences(old) if _signature(sentence) not in self._same]
        return _without(otherwise, self._superseded)

    def _superseded(self, clause: str) -> bool:
        name = attribute(clause)
        return (
            (name is not None and name in self._replaced)
            or _signature(clause) in self._same
            or _thing(clause) in self._things
            or any(ending.of(clause) for ending in self._endings)
            or self._is_so_again(clause)
        )

    def _is_so_again(self, clause: str) -> bool:
        if not _ENDED.search(clause):
            return False
        return any(e.gone and e.who == who and e.gone <= said for e in _endings(clause) for who, said in self._said)


def without(old: str, what: str) -> str:
    """An older fact without the sentences that speak of what is to be forgotten (`forget_request`).

    >>> without("My car is a Fiat. I live in Porto.", "my car"), without("I live in Porto.", "my address")
    ('I live in Porto.', '')
    """
    wanted, who = _words(what), whose(f"{what} is")
    meant = [wanted, *({*wanted - {word}, *terms(_CALLED[word])} for word in wanted if word in _CALLED)]

    def speaks_of_it(clause: str) -> bool:
        words = _words(f"{clause} {attribute(clause) or ''}")
        told = any(all(any(_kin(word, other) for other in words) for word in each) for each in meant)
        return bool(wanted) and whose(clause) == who and told

    return _without(sentences(old), speaks_of_it) if what else ""


def _kin(one: str, other: str) -> bool:
    """The same stem, or nearly: `allergy` and `allergic`."""
    return one == other or (min(len(one), len(other)) > 4 and one[:5] == other[:5] and abs(len(one) - len(other)) < 3)


def _without(old: Sequence[str], goes: Callable[[str], bool]) -> str:
    """The sentences that stay; of one with a further clause ("… and I …") each is asked for itself."""
    left: list[str] = []
    for sentence in old:
        further = _FURTHER.search(sentence)
        if further is None:
            left += [] if goes(sentence) else [sentence]
            continue
        first, second = sentence[: further.start()], sentence[further.end() :]
        stays = [clause for clause in (first, second) if not goes(clause)]
        left += [sentence] if len(stays) == 2 else stays
    return " ".join(left)


def _thing(sentence: str) -> tuple[str, ...] | None:
    """A thing of one's own and what kind of thing is said of it; the same for two values of one thing."""
    found = _THING.search(sentence)
    if found is None:
        return None
    kind = next((name for name, pattern in _KINDS if pattern.match(found["rest"])), "word")
    return (kind, *terms(found["thing"]))


def _signature(sentence: str) -> tuple[str, ...]:
    """The same for two sentences that say the same in nearly the same words; numbers and negations count."""
    negated = re.findall(r"\b(?:not|no|never)\b|n['’]t\b", sentence.lower())
    return (*terms(sentence), *(["not"] * len(negated)))
