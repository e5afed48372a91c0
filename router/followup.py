"""Does a task stand alone, or does it go on from the one before?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .example import normalise

CUE = re.compile(
    r"""^\W*(?:and|but|or|so|also|then|what\ about|how\ about|what\ if|same|again|why|why\ not|which\ one|ok(?:ay)?|
          und|aber|et|y)\b
      | \b(?:it|its|that|this|those|these|they|them|their|there|the\ same|one|ones|former|latter|instead|else)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
SHORT = 4
"""A task of at most so many words may go on from the one before, whatever the words are."""


def goes_on(text: str) -> bool:
    """May the text refer to what was said before?"""
    return len(text.split()) <= SHORT or bool(CUE.search(text))


def with_thread(text: str, context: Sequence[str]) -> str:
    """The text behind the last task of the thread that stood alone (else behind the last one)."""
    earlier = [normalise(task) for task in context if task.strip()]
    alone = [task for task in earlier if not goes_on(task)]
    if not earlier:
        return text
    return normalise(f"{(alone or earlier)[-1]} {text}")
