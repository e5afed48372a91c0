"""How sure a draft is: a small logistic model over what retrieval and the language model tell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ..core.types import Passage
from .support import content_words, coverage
from .work import CERTAINTY, Draft

WEIGHTS = Path(__file__).with_name("confidence.json")
"""Fitted by `benchmarks/confidence.py`."""

FEATURES = ("dense", "coverage", "window_coverage", "logprob", "first_logprob", "length")
"""In the order of the shipped weights; see `features`."""


def features(task: str, draft: Draft, passages: Sequence[Passage]) -> dict[str, float]:
    """What the confidence is made of.

    `dense` is the cosine of task and cited passage, `coverage` the share of the task's content words in that passage
    and its headings, `window_coverage` the same over all passages shown. `logprob` and `first_logprob` are the mean
    log-probability of the answer's tokens and that of the first (0 where the engine does not tell): a model that was
    made to quote although it would rather have said "not found" begins with an improbable token. `length` is the
    logarithm of the answer's words.
    """
    cited = {c.passage for c in draft.citations}
    shown = [p for p in passages if p.id in cited] or list(passages[:1])
    words = content_words(task)
    return {
        "dense": max((p.signals.get("dense", 0.0) for p in shown), default=0.0),
        "coverage": max((coverage(words, _with_headings(p)) for p in shown), default=0.0),
        "window_coverage": coverage(words, " ".join(_with_headings(p) for p in passages)) if passages else 0.0,
        **{name: draft.certainty.get(name, 0.0) for name in CERTAINTY},
        "length": math.log1p(len(draft.text.split())),
    }


def _with_headings(passage: Passage) -> str:
    return " ".join((*passage.heading, passage.source, passage.text))


def evidence(task: str, passages: Sequence[Passage]) -> float:
    """How much passages speak of a task, before anybody reads them (0 to 1): the best of coverage and cosine."""
    words = content_words(task)
    return max(((coverage(words, _with_headings(p)) + p.signals.get("dense", 0.0)) / 2 for p in passages), default=0.0)


def confidence(task: str, draft: Draft, passages: Sequence[Passage]) -> float:
    """Probability (0 to 1) that the draft answers the task.

    Answers that were chosen among labels bring their own probability; drafts without passages are as sure as the
    model's tokens are.
    """
    if draft.probability is not None:
        return draft.probability
    if not draft.found:
        return 0.0
    if not passages:
        return math.exp(draft.certainty["logprob"]) if draft.certainty else 0.5
    weights = _weights()
    values = features(task, draft, passages)
    return 1 / (1 + math.exp(-weights["bias"] - sum(weights[name] * values[name] for name in FEATURES)))


@cache
def _weights() -> Mapping[str, float]:
    return json.loads(WEIGHTS.read_text())["weights"]
