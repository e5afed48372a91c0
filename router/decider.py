"""The order in which a task is looked at: memory, rules, words, meaning, and a second look when in doubt."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..core.embedding import Embedder
from ..core.types import Route
from . import decide
from .decide import Verdict
from .example import Example, normalise
from .followup import goes_on, with_thread
from .model import Judged, Model
from .rules import Rules, Ruling
from .shortcut import WRONG
from .split import assign, segments

SecondLook = Callable[[str, Sequence[str]], str | None]
"""Asked in doubt: the text and the names in question, most probable first; answers one of them, or None."""

DOUBT = 0.7
"""A second look is asked for when the best specialist has less than this, given that somebody has."""

REMEMBERED = 1024
"""So many decisions are kept."""

Task = tuple[str, tuple[str, ...], tuple[str, ...]]


class Decider:
    """Decides with a fitted model. Safe to share between threads."""

    def __init__(
        self,
        model: Model,
        rules: Rules,
        embedder: Embedder,
        examples: Iterable[Example],
        second_look: SecondLook | None = None,
    ) -> None:
        self.model, self.rules, self.embedder, self.second_look = model, rules, embedder, second_look
        self._examples = _certain(examples)
        self._recent: OrderedDict[Task, Route] = OrderedDict()
        self._lock = threading.Lock()

    def decide(self, text: str, context: Sequence[str] = (), attachments: Sequence[str] = ()) -> Route:
        """See `Router.route`. A decision is remembered: the same task gets the same one again."""
        task = (text, tuple(context), tuple(attachments))
        with self._lock:
            if task in self._recent:
                self._recent.move_to_end(task)
                return self._recent[task]
        route = self._decide(normalise(text), context, attachments)
        with self._lock:
            self._recent[task] = route
            if len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        return route

    def judge(self, texts: Sequence[str]) -> Judged:
        """What the model thinks of normalised texts."""
        return self.model.judge(texts, self.embedder.embed(texts))

    def _decide(self, text: str, context: Sequence[str], attachments: Sequence[str]) -> Route:
        names = self.model.names
        if not text:
            return decide.nobody(names, "the task is empty")
        ruling = self.rules.judge(text, attachments)
        if ruling.chosen:
            return decide.by_rule(ruling, names)
        if len(ruling.barred) == len(names):
            return decide.nobody(names, ruling.reason)
        read = normalise(" ".join([text, *attachments]))
        follows = bool(context) and goes_on(text)
        pieces = segments(text)
        if not follows and not pieces and (route := self._by_words(text, read, ruling)):
            return route
        # Most tasks with a seam are one task; only where words see a difference is each piece embedded.
        if pieces and not self.model.shortcut.agree(pieces) and (route := self._by_parts(text, pieces, ruling)):
            return route
        return self._by_model(text, read, context if follows else (), ruling)

    def _by_words(self, text: str, read: str, ruling: Ruling) -> Route | None:
        """One of the examples, or a text whose words are certain; needs no encoder."""
        names = self.model.names
        if read.lower() in self._examples:
            label = self._examples[read.lower()]
            if label is None:
                return decide.nobody(names, "one of the examples that are for nobody here")
            if label not in ruling.barred:
                return decide.by_words(text, names, label, 1.0, f"{label}, whose example it is")
        column = self.model.shortcut.decide(read)
        if column is None or names[column] in ruling.barred:
            return None
        return decide.by_words(text, names, names[column], 1 - WRONG, f"{names[column]}, the words are certain")

    def _by_parts(self, text: str, pieces: Sequence[str], ruling: Ruling) -> Route | None:
        verdicts = self._verdicts(self.judge(pieces), ruling)
        chances = np.array([[v.joint(i) for i in range(len(v.names))] for v in verdicts])
        shared = assign(pieces, chances, self.model.calibration.part)
        if not shared:
            return None
        whole = self._verdict(self.judge([text]), 0, ruling)
        return decide.to_several(shared, whole.noted(ruling.reason), _least_sure(chances, {p.column for p in shared}))

    def _by_model(self, text: str, read: str, context: Sequence[str], ruling: Ruling) -> Route:
        """A task that may go on from the thread is read both ways; the surer reading counts."""
        readings = [read, with_thread(read, context)] if context else [read]
        verdicts = self._verdicts(self.judge(readings), ruling)
        best = max(verdicts, key=lambda v: (not v.refused, v.joint(v.order[0])))
        if best is not verdicts[0]:
            best = best.noted("read with the thread")
        best = best.noted(ruling.reason)
        if self.second_look and not best.refused and best.given_inside[best.order[0]] < DOUBT:
            return self._look_again(text, best)
        return decide.by_model(text, best)

    def _look_again(self, text: str, v: Verdict) -> Route:
        asked = decide.to_ask(v)
        name = self.second_look(text, asked) if self.second_look else None
        if name not in asked:
            return decide.by_model(text, v.noted("a second look did not settle it"))
        return decide.to_one(text, v, v.names.index(name), "by a second look")

    def _verdict(self, judged: Judged, row: int, ruling: Ruling) -> Verdict:
        return decide.verdict(self.model.names, self.model.calibration, judged, row, ruling.barred)

    def _verdicts(self, judged: Judged, ruling: Ruling) -> list[Verdict]:
        return [self._verdict(judged, row, ruling) for row in range(len(judged.inside))]


def _certain(examples: Iterable[Example]) -> dict[str, str | None]:
    """Example tasks in lower case and their labels; those with two labels are left out."""
    labels: dict[str, set[str | None]] = {}
    for example in examples:
        if example.kind == "task":
            labels.setdefault(example.text.lower(), set()).add(example.label)
    return {text: next(iter(found)) for text, found in labels.items() if len(found) == 1}


def _least_sure(chances: np.ndarray, columns: set[int]) -> float:
    """The probability of the part that is least sure."""
    return float(min(chances[:, column].max() for column in columns))
