"""How sure a draft is: a small logistic model over what retrieval and the language model tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..core.text import content_words, coverage
from ..core.types import Logistic, Passage
from .grounding import with_context
from .work import CERTAINTY, Draft

CONFIDENCE_FILE = Path(__file__).with_name("confidence.json")
"""Fitted by `benchmarks/confidence.py`, when content words had other stop words and stems: 651 pairs of a question and
the line that answers it had a `coverage` that was 0.008 higher (0.013 log-odds), and told right lines less well."""

FEATURES = ("dense", "coverage", "logprob", "first_logprob", "length")
"""In the order of the shipped weights; see `features`."""


def confidence_features(task: str, draft: Draft, passages: Sequence[Passage]) -> dict[str, float]:
    """What the confidence is made of.

    `dense` is the cosine of task and cited passage, `coverage` the share of the task's content words in the sentence or
    table row that the answer stands in and the headings above it (of another row it would be a wrong answer). `logprob`
    and `first_logprob` are the mean log-probability of the answer's tokens and that of the first (0 where the engine
    does not tell): a model that was made to quote although it would rather have said "not found" begins with an
    improbable token. `length` is the logarithm of the answer's words.
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
    }


def _with_headings(passage: Passage, text: str | None = None) -> str:
    return " ".join((*passage.heading, passage.source, text or passage.text))


def answer_evidence(task: str, passages: Sequence[Passage]) -> float:
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
    return _shipped_confidence().probability(confidence_features(task, draft, passages))


@cache
def _shipped_confidence() -> Logistic:
    return Logistic.model_validate_json(CONFIDENCE_FILE.read_bytes())
