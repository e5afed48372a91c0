"""Logistic models that ship as JSON: a few named measures, a weight for each."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .types import Value


def sigmoid(logit: float) -> float:
    """The probability of log-odds."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))


class Logistic(Value):
    """A logistic model over a few named measures; as JSON it is what ships."""

    weights: dict[str, float]
    """By the name of the measure."""
    bias: float
    made_by: str = ""
    """The command that fitted it, for people."""

    def probability(self, measures: Mapping[str, float]) -> float:
        """Probability (0 to 1) of the positive class; each weight needs its measure."""
        return sigmoid(self.bias + sum(weight * measures[name] for name, weight in self.weights.items()))
