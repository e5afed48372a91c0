"""What a router learns from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ..core.types import Value
from .features import normalise_example


class Example(Value):
    """A text, and who it belongs to."""

    text: str
    label: str | None = None
    """A specialist's name; None means that nobody on the team should answer."""
    kind: Literal["task", "description", "document"] = "task"
    """Only tasks are what people will type; the others are trusted less and never used to calibrate."""


TaskExamples = Sequence[Example] | Mapping[str, Sequence[str]]
"""Either form is taken wherever examples are: a list, or a specialist's name to its tasks."""


def flatten(examples: TaskExamples) -> list[Example]:
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
