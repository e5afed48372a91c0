"""Which functions a model is shown for a task: the few whose descriptions are nearest to it in meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ....core.embedding import Embedder, Vectors
from ...functions import Function
from .arguments import spelled

_FIND = {"find", "search", "list", "lookup", "query"}
_IDENTIFIER = re.compile(r"@|(?=\S*\d\S*\d\S*\d)\S+")
"""What may be an address or an ID: three digits in one word, or an at sign."""

SHOWN = 3
"""Functions in one prompt: among these is the right one in 99 of 100 cases (`benchmarks/tools.py`)."""


@dataclass(frozen=True)
class Fitting:
    """What a task may need."""

    functions: list[Function]
    """In the order in which they were given, so that prompts begin alike."""
    similarity: float | None
    """Cosine of the task and the nearest of them; None without an embedder."""
    cosines: Mapping[str, float] = field(default_factory=dict)
    """Of the task and each of them, by name."""

    def without(self, name: str) -> Fitting:
        """Those that may be meant besides this one: as near to the task, but for `FAR`, as the nearest."""
        least = (self.similarity or 0.0) - FAR
        kept = [f for f in self.functions if f["name"] != name and self.cosines.get(f["name"], 1.0) >= least]
        return replace(self, functions=kept)

    def far(self, name: str) -> bool:
        """Whether another function is so much nearer to the task that this one cannot be meant."""
        return self.similarity is not None and self.cosines.get(name, 1.0) < self.similarity - FAR


FAR = 0.25
"""Of 500 tasks of the Berkeley leaderboard, each with the functions of seven others, one asks for a function whose
cosine is so much below the best."""


class ToolShortlist:
    """Chooses functions by embedding; each description is embedded once. Without an embedder all are shown."""

    def __init__(self, embedder: Embedder | None = None, shown: int = SHOWN) -> None:
        self._embedder, self._shown = embedder, shown
        self._known: dict[str, Vectors] = {}

    def fitting(self, task: str, functions: Sequence[Function], result: str = "") -> Fitting:
        """The functions nearest to the task, at most `shown`.

        Where the next step needs certain others, they come first, and one more is shown: after a call (`result`: what
        calls gave) those that take a field of it, before it those that find what one of the nearest needs the ID of.
        """
        if self._embedder is None or not functions:
            return Fitting(list(functions), None)
        cosines = self._vectors(functions) @ self._embedder.embed([task])[0]
        nearest = [int(i) for i in np.argsort(-cosines, kind="stable")]
        known = bool(result or _IDENTIFIER.search(task))
        missing = set[str]().union(*(needs(functions[i]) for i in nearest[: self._shown] if not known))
        first = [i for i in nearest if takes(functions[i], result) or any(finds(functions[i], n) for n in missing)]
        shown = list(dict.fromkeys([*first, *nearest]))[: self._shown + bool(first)]
        near = {functions[i]["name"]: float(cosines[i]) for i in shown}
        return Fitting([functions[i] for i in sorted(shown)], float(cosines.max()), near)

    def _vectors(self, functions: Sequence[Function]) -> Vectors:
        assert self._embedder is not None
        texts = [description(function) for function in functions]
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._embedder.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def takes(function: Function, result: str) -> bool:
    """Whether a result has a field of the name of an argument that the function needs: `"order_id": …`."""
    needed = (function.get("parameters") or {}).get("required", ())
    return any(re.search(rf'\b{re.escape(name)}"?\s*:', result) for name in needed)


def needs(function: Function) -> set[str]:
    """What the function must be given the ID or the address of: `event` for `event_id`, `email` for `to_email`."""
    names = [spelled(name).split() for name in (function.get("parameters") or {}).get("required", ())]
    ids = {words[-2] for words in names if words[1:] and words[-1] == "id"}
    return ids | {"email" for words in names if words and words[-1] == "email"}


def finds(function: Function, noun: str) -> bool:
    """Whether the function's name says that it finds such things, and it does not need their IDs itself."""
    words = spelled(function["name"]).split()
    return bool(_FIND & {*words}) and any(word.startswith(noun) for word in words) and noun not in needs(function)


def description(function: Function) -> str:
    """What is embedded of a function: the words of its name, what it does, the words of its arguments."""
    arguments = (function.get("parameters") or {}).get("properties", {})
    return f"{_words(function['name'])}: {function.get('description') or ''} {', '.join(map(_words, arguments))}"


def _words(name: str) -> str:
    return " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])|[._-]", " ", name).split())
