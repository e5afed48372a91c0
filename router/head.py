"""The trained head: kernel ridge regression, whose held-out scores come for free.

Each specialist is a column of targets (1 for its own examples, 0 for all others); far from every example all scores
go to 0, which is what makes the head know what it does not know. Solving for the coefficients also gives what each
example would have scored had it been left out (Rifkin and Lippert, "Notes on Regularized Least Squares", 2007), so
calibration and thresholds use every example and yet only held-out scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, get_lapack_funcs

from .features import Matrix


class Fit(NamedTuple):
    """coefficients: (examples, columns), prior: (columns,), held_out: (examples, columns)."""

    coefficients: Matrix
    prior: Matrix
    held_out: Matrix


def fit_head(kernel: Matrix, targets: Matrix, ridge: Matrix | float) -> Fit:
    """Solve (kernel + diag(ridge)) · coefficients = targets − prior.

    Args:
        kernel: Similarities of all examples with each other, (n, n); left as it was.
        targets: (n, columns).
        ridge: Above 0; one value, or one an example: how far it is distrusted.
    """
    prior = targets.mean(axis=0)
    system = kernel.copy()
    system[np.diag_indices_from(system)] += np.asarray(ridge, dtype=np.float32)
    factor, lower = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
    coefficients = cho_solve((factor, lower), targets - prior, check_finite=False)
    (invert,) = get_lapack_funcs(("trtri",), (factor,))
    inverse, _ = invert(factor, lower=1, overwrite_c=1)
    # The diagonal of the system's inverse; what lies above the factor's diagonal is left over and not read.
    diagonal = np.array([column @ column for column in (inverse[i:, i] for i in range(len(inverse)))])
    held_out = targets - coefficients / diagonal[:, None]
    return Fit(np.ascontiguousarray(coefficients), prior, held_out)
