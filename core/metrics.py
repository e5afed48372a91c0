"""How good answers are, and how far their confidences may be trusted: the measures that the field uses."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Short answers, as SQuAD measures them (Rajpurkar et al., EMNLP 2016).

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Lower case without punctuation, articles and extra white space.

    >>> normalise_answer("The  pump, P-101!")
    'pump p101'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 when the normalised answer is one of the references, otherwise 0."""
    return float(normalise_answer(answer) in {normalise_answer(r) for r in references})


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words, for the best of the references (0 to 1)."""
    return max((_f1(normalise_answer(answer).split(), normalise_answer(r).split()) for r in references), default=0.0)


def _f1(answer: list[str], reference: list[str]) -> float:
    common = sum((Counter(answer) & Counter(reference)).values())
    if not common:
        return float(answer == reference)
    return 2 * common / (len(answer) + len(reference))


# Confidences.


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over bins of equal width, weighted by their size.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    sure, right = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    where = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(sure[where == b].sum() - right[where == b].sum()) for b in range(bins)]
    return float(sum(gaps) / max(1, len(sure)))


def risk_coverage(confidence: ArrayLike, risk: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For every threshold, from few answers to all: the share that is answered, and the mean risk of that share.

    The mean of the second is the area under the curve (AURC). Of equal confidences the earlier row comes first.

    Args:
        confidence, risk: (n,) of each answer; the risk is 0 for a right one, 1 for a wrong one.

    Source: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
    """
    order = np.argsort(-np.asarray(confidence, dtype=float), kind="stable")
    answered = np.arange(1, len(order) + 1)
    return answered / max(1, len(order)), np.cumsum(np.asarray(risk, dtype=float)[order]) / answered
