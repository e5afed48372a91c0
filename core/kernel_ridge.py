"""Kernel ridge regression: a linear model of how alike texts are, solved exactly, with its own held-out scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, get_lapack_funcs

Matrix = NDArray[np.float32]


class KernelRidge(NamedTuple):
    """Kernel ridge regression, whose held-out scores come for free.

    A text's scores are its similarities with the examples @ `coefficients` + `prior`.
    """

    coefficients: Matrix
    """(examples, columns)"""
    prior: Matrix
    """(columns,)"""
    held_out: Matrix
    """(examples, columns): the scores of each example by a regression that did not see it."""
    apart: Matrix
    """The same by a regression that saw none of its group either."""


def fit_kernel_ridge(
    kernel: Matrix, targets: Matrix, ridge: Matrix | float, groups: Sequence[NDArray[np.intp]] = ()
) -> KernelRidge:
    """Solve (kernel + diag(ridge)) · coefficients = targets − prior. Time grows with the cube of the examples.

    Args:
        kernel: Similarities of all examples with each other, (n, n); left as it was.
        targets: (n, columns).
        ridge: Above 0; one value, or one an example: how far it is distrusted.
        groups: Indices of examples that are too much alike to tell anything about each other; who is in none is alone.
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
    apart = held_out.copy()
    for group in groups:
        columns = np.zeros((len(inverse), len(group)), dtype=inverse.dtype)
        for place, i in enumerate(group):
            columns[i:, place] = inverse[i:, i]
        apart[group] = targets[group] - np.linalg.solve(columns.T @ columns, coefficients[group])
    return KernelRidge(np.ascontiguousarray(coefficients), prior, held_out, apart)
