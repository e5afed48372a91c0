"""How far confidences are from what they promise."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over bins of equal width, weighted by their size.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    sure, right = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    where = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(sure[where == b].sum() - right[where == b].sum()) for b in range(bins)]
    return float(sum(gaps) / max(1, len(sure)))
