"""Is an answer supported by what it cites? A small head over `evidence`: a tenth of a millisecond."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

from ...core.types import Value
from .evidence import NAMES, evidence, weakest_sentence
from .verdict import Check, GuardContext, Verdict, passed, refused

HEAD = Path(__file__).parent / "heads" / "grounded.json"
REFUSE_BELOW = 0.1
"""Answers below this are held back. Lower than 0.5, since holding back a good answer costs more than one odd phrase."""


class GroundedHead(Value):
    """Logistic regression: weight by measure, in the order of `NAMES`."""

    weights: dict[str, float]
    bias: float

    def probability(self, measures: list[float]) -> float:
        """How probable it is that the answer is supported."""
        logit = self.bias + sum(self.weights[n] * m for n, m in zip(NAMES, measures, strict=True))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))


@lru_cache(maxsize=1)
def shipped() -> GroundedHead:
    """The head that comes with metier."""
    return GroundedHead.model_validate_json(HEAD.read_bytes())


def support(answer: str, source: str, head: GroundedHead | None = None) -> float:
    """Probability that all of an answer is supported by a source, 0 to 1."""
    return (head or shipped()).probability(evidence(answer, source))


def grounded(refuse_below: float = REFUSE_BELOW) -> Check:
    """The guard: hold back an answer that its citations do not support. An answer without citations passes."""

    def check(text: str, context: GuardContext) -> Verdict:
        source = "\n".join(c.quote for c in context.citations)
        if not source or not text.strip():
            return passed(text)
        probability = support(text, source)
        if probability >= refuse_below:
            return passed(text, probability)
        return refused(text, f"the sources do not support '{weakest_sentence(text, source)[:120]}'", probability)

    return check
