"""Which functions a model is shown for a task: the few whose descriptions are nearest to it in meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.embedding import Embedder, Vectors
from .functions import Function

SHOWN = 3
"""Functions in one prompt: among these is the right one in 99 of 100 cases (`benchmarks/tools.py`)."""


@dataclass(frozen=True)
class Fitting:
    """What a task may need."""

    functions: list[Function]
    """In the order in which they were given, so that prompts begin alike."""
    similarity: float | None
    """Cosine of the task and the nearest of them; None without an embedder."""


class Selection:
    """Chooses functions by embedding; each description is embedded once. Without an embedder all are shown."""

    def __init__(self, embedder: Embedder | None = None, shown: int = SHOWN) -> None:
        self._embedder, self._shown = embedder, shown
        self._known: dict[str, Vectors] = {}

    def fitting(self, task: str, functions: Sequence[Function]) -> Fitting:
        """The functions nearest to the task, at most `shown`."""
        if self._embedder is None or not functions:
            return Fitting(list(functions), None)
        cosines = self._vectors(functions) @ self._embedder.embed([task])[0]
        nearest = np.argsort(-cosines, kind="stable")[: self._shown]
        return Fitting([functions[i] for i in sorted(nearest)], float(cosines.max()))

    def _vectors(self, functions: Sequence[Function]) -> Vectors:
        assert self._embedder is not None
        texts = [description(function) for function in functions]
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._embedder.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def description(function: Function) -> str:
    """What is embedded of a function: the words of its name, what it does, the words of its arguments."""
    arguments = (function.get("parameters") or {}).get("properties", {})
    return f"{_words(function['name'])}: {function.get('description') or ''} {', '.join(map(_words, arguments))}"


def _words(name: str) -> str:
    return " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])|[._-]", " ", name).split())
