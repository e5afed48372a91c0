"""Words that were cut at the end of a line: joined again, unless the hyphen is part of the word."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..documents import PAGE_BREAK

_CUT = re.compile(r"(\w+)[-\u2010\u00ad]\n(?=(\w+))")
_OVER_PAGES = re.compile(rf"([-\u2010\u00ad]){PAGE_BREAK}(\w\S*)[^\S\n]?")
_LINE_END = re.compile(r"\w[-\u2010\u00ad]\Z")
_WORD = re.compile(r"\w+(?:-\w+)*")

_BEGINNINGS = frozenset("cross ex half non quasi self well".split())
_SOMETIMES = frozenset(
    """
    all double five four full hand heat heavy high light long low multi oil one right short single six three two water
    """.split()
)
"""These keep their hyphen before what is a word of its own in the document."""
_ENDINGS = frozenset(
    """
    based controlled cooled driven duty flammable locking mounted operated powered related resistant sensitive shaped
    specific
    """.split()
)
_BETWEEN = frozenset("and or to und oder bzw bis et ou y e o".split())
"""After these the hyphen stands for a word that is left out: "two-" "and three-phase"."""


class Hyphens:
    """Decides by the document's own words, then by words that are mostly written with a hyphen."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._words: set[str] = set()
        cut = False
        for line in lines:
            words, begins_cut, cut = _WORD.findall(line), cut, bool(_LINE_END.search(line))
            self._words |= {word.casefold() for word in words[begins_cut : len(words) - cut]}

    def join(self, text: str) -> str:
        """The text with its cut words whole. A page break inside a word moves behind it."""
        return _CUT.sub(self._joined, _OVER_PAGES.sub(rf"\1\n\2{PAGE_BREAK}", text))

    def _joined(self, cut: re.Match[str]) -> str:
        left, right = cut[1], cut[2]
        if right in _BETWEEN:
            return cut[0]
        return f"{left}-" if self._keeps(left, right) else left

    def _keeps(self, left: str, right: str) -> bool:
        if len(left) == 1 or any(map(str.isdigit, left)) or not right[0].islower():
            return True
        whole, parted = (f"{left}{mark}{right}".casefold() in self._words for mark in ("", "-"))
        if whole != parted:
            return parted
        first, second = left.casefold(), right.casefold()
        return first in _BEGINNINGS or second in _ENDINGS or (first in _SOMETIMES and second in self._words)
