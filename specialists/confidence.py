"""How sure a draft is: a logistic model of what retrieval and the language model tell, which a team may correct."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from pydantic import Field, TypeAdapter

from ..core.text import content_words, coverage
from ..core.types import Logistic, Passage, Value, sigmoid
from .grounding import Likeness, below_heading, with_context
from .knowledge.knowledge import nearness
from .work import CERTAINTY, DECLINED, VERDICT, Draft

CONFIDENCE_FILE = Path(__file__).with_name("confidence.json")
"""Base to the model that was fitted on its answers, by `benchmarks/confidence.py`."""

FEATURES = ("likeness", "lead", "logprob", "first_logprob", "declined", "verdict")
"""In the order of the shipped weights; see `confidence_features`."""


def confidence_features(task: str, draft: Draft, passages: Sequence[Passage], likeness: Likeness) -> dict[str, float]:
    """What the confidence is made of.

    `likeness` says how near the sentence or table row that the answer stands in comes to the task, below its heading
    (another row would be a wrong answer); of several the nearest. `lead` is how much better its passage fits the task
    than the best of those that the answer does not rest on; below 0 where one of these fits better, 0 without others.
    `logprob` and `first_logprob` are the mean log-probability of the answer's tokens and that of the first (0 where the
    engine does not tell): a model that was made to quote although it would rather have said "not found" begins with an
    improbable token. `declined` is 1 where the model had said that nothing answers and was then made to point at what
    comes nearest; `verdict` the log-probability of the Yes or No that its sentence was judged to say, 0 without one.
    """
    cited = {c.passage for c in draft.citations}
    shown = [p for p in passages if p.id in cited] or list(passages[:1])
    others = [p for p in passages if p not in shown]
    there = {p.id for p in shown}
    places = [with_context(c, shown) for c in draft.citations if c.passage in there]
    lines = [*dict.fromkeys(below_heading(place.heading, place.context) for place in places)]
    return {
        "likeness": float(max(likeness(task, lines))) if lines else 0.0,
        "lead": max(map(nearness, shown)) - max(map(nearness, others)) if others else 0.0,
        **{name: draft.certainty.get(name, 0.0) for name in (*CERTAINTY, DECLINED, VERDICT)},
    }


def answer_evidence(task: str, passages: Sequence[Passage]) -> float:
    """How much passages speak of a task, before anybody reads them (0 to 1): the best of coverage and cosine."""
    words = content_words(task)

    def speaks(passage: Passage) -> float:
        text = " ".join((*passage.heading, passage.source, passage.text))
        return (coverage(words, text) + passage.signals.get("dense", 0.0)) / 2

    return max(map(speaks, passages), default=0.0)


class PlattScaling(Value):
    """How a team's own answers correct the shipped model: its log-odds times `scale` plus `offset`.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999.
    """

    scale: float = Field(gt=0, allow_inf_nan=False)
    offset: float = Field(allow_inf_nan=False)

    def probability(self, logit: float) -> float:
        """The corrected probability (0 to 1) of the shipped model's log-odds."""
        return sigmoid(self.scale * logit + self.offset)


AS_SHIPPED = PlattScaling(scale=1.0, offset=0.0)


def confidence_measures(task: str, draft: Draft, passages: Sequence[Passage], likeness: Likeness) -> dict[str, float]:
    """The features of a draft that the fitted model judges; empty for one that it does not: nothing was found, it was
    chosen among labels and brings its own probability, or there are no passages."""
    if not draft.found or draft.probability is not None or not passages:
        return {}
    return confidence_features(task, draft, passages, likeness)


def confidence(
    draft: Draft, measures: Mapping[str, float], base: str = "", calibration: PlattScaling = AS_SHIPPED
) -> float:
    """Probability (0 to 1) that the draft answers the task.

    Answers that were chosen among labels bring their own probability; drafts without passages are as sure as the
    model's tokens are.

    Args:
        measures: As `confidence_measures` gives them.
        base: Whose draft it is. One that nothing was fitted on is judged as the first of the fitted ones.
        calibration: The team's own correction.
    """
    if measures:
        return calibration.probability(fitted_for(base).logit(measures))
    if draft.probability is not None:
        return draft.probability
    if not draft.found:
        return 0.0
    return math.exp(draft.certainty["logprob"]) if draft.certainty else 0.5


def fitted_for(base: str) -> Logistic:
    """The shipped model for a base's answers; the first one for a base that nothing was fitted on."""
    fitted = _fitted()
    return fitted.get(base, next(iter(fitted.values())))


@cache
def _fitted() -> dict[str, Logistic]:
    return TypeAdapter(dict[str, Logistic]).validate_json(CONFIDENCE_FILE.read_bytes())
