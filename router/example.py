"""What a router learns from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ..core.types import Value

HEAD, TAIL = 1500, 500
"""Of a longer text the first and last so many characters are looked at: who is asked stands there."""


class Example(Value):
    """A task, and who should do it."""

    text: str
    label: str | None = None
    """A specialist's name; None means that nobody on the team should answer."""


Examples = Sequence[Example] | Mapping[str, Sequence[str]]
"""Either form is taken wherever examples are: a list, or a specialist's name to its tasks."""


def flatten(examples: Examples, outside: Iterable[str] = ()) -> list[Example]:
    """One list without blanks and repetitions; of two equal tasks the first keeps its label."""
    if isinstance(examples, Mapping):
        listed = [Example(text=text, label=name) for name, texts in examples.items() for text in texts]
    else:
        listed = list(examples)
    found: dict[tuple[str, str | None], Example] = {}
    for example in [*listed, *(Example(text=text) for text in outside)]:
        key = normalise(example.text)
        if key:
            found.setdefault((key, example.label), example)
    return list(found.values())


def normalise(text: str) -> str:
    """The text as the router reads it: composed characters, single blanks, no more than it looks at."""
    if len(text) > HEAD + TAIL:
        text = f"{text[:HEAD]} {text[-TAIL:]}"
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip()
