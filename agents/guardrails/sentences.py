"""A document or message in pieces that can hold an order."""

from __future__ import annotations

import re
from collections.abc import Iterator

LEAST_WORDS = 3
"""Headings, labels and table cells of one or two words order nobody about."""
_BREAK = re.compile(r"(?<=[.!?;:])\s+|\n+|\||<[^>]{1,80}>")
_WORD = re.compile(r"\w+")


def sentences(text: str) -> Iterator[str]:
    """Sentences, lines and table cells of three words or more, or of a script without spaces, without their edges."""
    for part in _BREAK.split(text):
        stripped = part.strip(" \t\r\n\"'“”‘’*-#>/")
        words = sum(1 for _ in _WORD.finditer(stripped))
        if words >= LEAST_WORDS or (stripped and len(stripped) > 12 * words):
            yield stripped
