"""Call or not? The model's own first token and the nearest function's similarity, weighed by a small logistic model."""

from __future__ import annotations

import math
from pathlib import Path

from ....core.logistic import sigmoid
from ....core.types import Value
from ...adapters.folder import DECISION

_SUREST = 8.0
"""Log-odds are cut there: beyond it a language model's probabilities say nothing more."""


class CallDecision(Value):
    """Weights of a logistic model, named as in the file that lies beside an adapter."""

    bias: float
    odds: float
    similarity: float

    def probability(self, odds: float, similarity: float) -> float:
        """Probability (0 to 1) that a function fits the task. Arguments as `log_odds` and `Fitting` give them."""
        return sigmoid(self.bias + self.odds * odds + self.similarity * similarity)


def log_odds(first_logprob: float, *, called: bool) -> float:
    """The model's log-odds of calling, from the log-probability of the first token that it said.

    A call and "none" begin with different tokens, and a trained model begins with nothing else.
    """
    probability = min(max(math.exp(first_logprob), 1e-9), 1 - 1e-9)
    odds = math.log(probability / (1 - probability))
    return min(max(odds if called else -odds, -_SUREST), _SUREST)


def read_decision(adapter: Path | str | None) -> CallDecision | None:
    """The decision that was fitted for an adapter (a PEFT folder); None where there is none, as on a server."""
    file = adapter / DECISION if isinstance(adapter, Path) else None
    return CallDecision.model_validate_json(file.read_bytes()) if file and file.is_file() else None
