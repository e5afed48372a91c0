"""Questions learn to point at the passages that answer them, from a handful of examples."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.embedding import Vectors
from ...core.files import write_atomic

_RIDGE = 3.0
"""Weight of staying where the embedder put the question (chosen by cross-validation: benchmarks/retrieval.py)."""
_FOLDS = 5
_FEWEST = 10
"""Examples below which nothing can be checked, so nothing is learnt."""

Shift = NDArray[np.float32]
"""Shape (dimension, dimension)."""


@dataclass(frozen=True)
class TuningReport:
    """What tuning found."""

    examples: int
    """Questions whose passage was found in the index."""
    before: float
    after: float
    """Mean reciprocal rank of the right passage, cross-validated, without and with what was learnt."""
    kept: bool
    """Only what helps by more than the standard error is kept."""


def learn(questions: Vectors, passages: Vectors) -> Shift:
    """The linear shift that brings questions nearer to their passages: ridge regression on the difference.

    Both have shape (examples, dimension); row n of one belongs to row n of the other.
    """
    regular = questions.T @ questions + _RIDGE * np.eye(questions.shape[1])
    return np.linalg.solve(regular, questions.T @ (passages - questions)).astype(np.float32)


def apply(shift: Shift | None, questions: Vectors) -> Vectors:
    """The questions where tuning puts them, again of length 1."""
    if shift is None:
        return questions
    moved = questions + questions @ shift
    return moved / np.linalg.norm(moved, axis=-1, keepdims=True)


def check(
    questions: Vectors, right: NDArray[np.intp], pool: Vectors
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Reciprocal ranks of the right passages without and with learning, cross-validated.

    `right` holds the place of each question's passage in `pool`. All questions of one passage are in the same fold.
    """
    folds = np.random.default_rng(0).permutation(len(pool))[right] % _FOLDS
    moved = np.empty_like(questions)
    for fold in range(_FOLDS):
        inside, outside = folds == fold, folds != fold
        moved[inside] = apply(learn(questions[outside], pool[right[outside]]), questions[inside])
    return _reciprocal(questions @ pool.T, right), _reciprocal(moved @ pool.T, right)


def enough(right: NDArray[np.intp]) -> bool:
    """Whether there are examples enough to learn and to check."""
    return len(right) >= _FEWEST and len(set(right.tolist())) >= _FOLDS


def save(path: Path, shift: Shift, embedder: str) -> None:
    """Write the shift, in one step."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, shift=shift.astype(np.float16), embedder=np.array(embedder))
    write_atomic(path, buffer.getvalue())


def load(path: Path, embedder: str) -> Shift | None:
    """Read the shift; None when there is none for this embedder."""
    if not path.is_file():
        return None
    with np.load(path) as file:
        return file["shift"].astype(np.float32) if str(file["embedder"]) == embedder else None


def _reciprocal(scores: NDArray[np.float32], right: NDArray[np.intp]) -> NDArray[np.float32]:
    own = scores[np.arange(len(right)), right][:, None]
    return 1 / (1 + (scores > own).sum(axis=1, dtype=np.float32))
