"""What a router learns from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ..core.types import Value

_HEAD, _TAIL = 1500, 500
"""Of a longer text the first and last so many characters are looked at: who is asked stands there."""


class Example(Value):
    """A text, and who it belongs to."""

    text: str
    label: str | None = None
    """A specialist's name; None means that nobody on the team should answer."""
    kind: Literal["task", "description", "document"] = "task"
    """Only tasks are what people will type; the others are trusted less and never used to calibrate."""


Examples = Sequence[Example] | Mapping[str, Sequence[str]]
"""Either form is taken wherever examples are: a list, or a specialist's name to its tasks."""


def flatten(examples: Examples) -> list[Example]:
    """As a list of normalised texts without blanks; of equal texts with one label the first is kept."""
    if isinstance(examples, Mapping):
        examples = [Example(text=text, label=name) for name, texts in examples.items() for text in texts]
    kept: dict[tuple[str, str | None], Example] = {}
    for example in examples:
        text = normalise_example(example.text)
        if text:
            kept.setdefault((text, example.label), example.model_copy(update={"text": text}))
    return list(kept.values())


def as_examples(
    label: str | None, kind: Literal["task", "description", "document"], texts: Iterable[str]
) -> list[Example]:
    """Texts of one kind for one specialist."""
    return [Example(text=text, label=label, kind=kind) for text in texts]


def normalise_example(text: str) -> str:
    """The text as the router reads it: composed characters, single blanks, no more than it looks at."""
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]} {text[-_TAIL:]}"
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip()
