"""Short forms that the documents define themselves: "work order (WO)".

A passage that says only "WO" is then found by "work order", and the other way round. Definitions are found as in
Schwartz and Hearst, "A simple algorithm for identifying abbreviation definitions in biomedical text", PSB 2003.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from ...core.text import terms

_IN_BRACKETS = re.compile(r"\(([A-Za-z][\w&/.-]{1,9})\)")
_WORD = re.compile(r"[\w'’&/.-]+")
_REACH = 120
"""Characters before the bracket that may hold the long form."""
_TRUSTED = 0.6
"""Share of the definitions of a short form that must agree before a question's short form is spelled out."""

Definition = tuple[str, str]
"""Short form, long form."""


def definitions(text: str) -> Iterator[Definition]:
    """Every short form that is introduced in brackets behind its long form.

    >>> list(definitions("Close the work order (WO) when the pump runs."))
    [('WO', 'work order')]
    """
    for found in _IN_BRACKETS.finditer(text):
        short = found[1]
        letters = short[:-1] if short.endswith("s") else short
        if sum(map(str.isupper, letters)) < 2:
            continue
        before = text[max(0, found.start() - _REACH) : found.start()].rstrip()
        words = list(_WORD.finditer(before))[-min(len(letters) + 5, 2 * len(letters)) :]
        long = _long_form(letters, before[words[0].start() :]) if words else None
        if long and " " in long and len(long) > len(short):
            yield short, long


def _long_form(short: str, before: str) -> str | None:
    """The shortest end of `before` whose letters hold the short form in order, its first letter at a word's start."""
    place = len(before)
    for number in range(len(short) - 1, -1, -1):
        letter = short[number].lower()
        if not letter.isalnum():
            continue
        place -= 1
        while place >= 0 and (
            before[place].lower() != letter or (number == 0 and place > 0 and before[place - 1].isalnum())
        ):
            place -= 1
        if place < 0:
            return None
    return before[place:]


class Abbreviations:
    """The definitions of a whole index, to widen questions."""

    def __init__(self, known: Iterable[Definition]) -> None:
        self._short: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        self._long: dict[str, Counter[str]] = defaultdict(Counter)
        for short, long in known:
            self._short[tuple(terms(long))][short] += 1
            self._long[short][long.lower()] += 1
        self._longest = max(map(len, self._short), default=0)

    def widen(self, query: str) -> str:
        """The question with the other form of its abbreviations added, in brackets as a text would have it."""
        added = [*self._shorts(query), *self._longs(query)]
        return f"{query.rstrip(' ?')} ({', '.join(added)})" if added else query

    def _shorts(self, query: str) -> list[str]:
        words, written, found = terms(query), set(_WORD.findall(query)), []
        for size in range(min(self._longest, len(words)), 1, -1):
            for first in range(len(words) - size + 1):
                shorts = self._short.get(tuple(words[first : first + size]))
                if shorts:
                    found.append(shorts.most_common(1)[0][0])
        return [short for short in dict.fromkeys(found) if short not in written]

    def _longs(self, query: str) -> list[str]:
        found = []
        shouted = query.isupper()  # then capitals say nothing about a word
        for word in () if shouted else dict.fromkeys(_WORD.findall(query)):
            longs = self._long.get(word)
            if longs:
                long, times = longs.most_common(1)[0]
                if times >= _TRUSTED * longs.total() and not set(terms(long)) <= set(terms(query)):
                    found.append(long)
        return found
