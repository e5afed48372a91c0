"""How sure a draft is: a small logistic model over what retrieval and the language model tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from ..core.text import content_words, coverage
from ..core.types import Logistic, Passage
from .grounding import with_context
from .work import CERTAINTY, DECLINED, Draft

CONFIDENCE_FILE = Path(__file__).with_name("confidence.json")
"""Base to the model that was fitted on its answers, by `benchmarks/confidence.py`."""

FEATURES = ("dense", "coverage", "logprob", "first_logprob", "length", "declined")
"""In the order of the shipped weights; see `confidence_features`."""


def confidence_features(task: str, draft: Draft, passages: Sequence[Passage]) -> dict[str, float]:
    """What the confidence is made of.

    `dense` is the cosine of task and cited passage, `coverage` the share of the task's content words in the sentence or
    table row that the answer stands in and the headings above it (of another row it would be a wrong answer). `logprob`
    and `first_logprob` are the mean log-probability of the answer's tokens and that of the first (0 where the engine
    does not tell): a model that was made to quote although it would rather have said "not found" begins with an
    improbable token. `length` is the logarithm of the answer's words, `declined` is 1 where the model had said that
    nothing answers and was then made to point at what comes nearest.
    """
    cited = {c.passage for c in draft.citations}
    shown = [p for p in passages if p.id in cited] or list(passages[:1])
    words = content_words(task)
    cited_lines = [(p, with_context(c, [p]).context) for c in draft.citations for p in shown if p.id == c.passage]
    lines = [_with_headings(p, line) for p, line in cited_lines]
    return {
        "dense": max((p.signals.get("dense", 0.0) for p in shown), default=0.0),
        "coverage": max((coverage(words, line) for line in lines), default=0.0),
        **{name: draft.certainty.get(name, 0.0) for name in CERTAINTY},
        "length": math.log1p(len(draft.text.split())),
        "declined": draft.certainty.get(DECLINED, 0.0),
    }


def _with_headings(passage: Passage, text: str | None = None) -> str:
    return " ".join((*passage.heading, passage.source, text or passage.text))


def answer_evidence(task: str, passages: Sequence[Passage]) -> float:
    """How much passages speak of a task, before anybody reads them (0 to 1): the best of coverage and cosine."""
    words = content_words(task)
    return max(((coverage(words, _with_headings(p)) + p.signals.get("dense", 0.0)) / 2 for p in passages), default=0.0)


def confidence(task: str, draft: Draft, passages: Sequence[Passage], base: str = "") -> float:
    """Probability (0 to 1) that the draft answers the task.

    Answers that were chosen among labels bring their own probability; drafts without passages are as sure as the
    model's tokens are.

    Args:
        base: Whose draft it is. One that nothing was fitted on is judged as the first of the fitted ones.
    """
    if draft.probability is not None:
        return draft.probability
    if not draft.found:
        return 0.0
    if not passages:
        return math.exp(draft.certainty["logprob"]) if draft.certainty else 0.5
    fitted = _fitted()
    return fitted.get(base, next(iter(fitted.values()))).probability(confidence_features(task, draft, passages))


@cache
def _fitted() -> dict[str, Logistic]:
    return TypeAdapter(dict[str, Logistic]).validate_json(CONFIDENCE_FILE.read_bytes())
