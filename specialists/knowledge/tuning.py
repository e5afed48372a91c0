"""What a specialist's examples teach its search: where questions point, and how much words count."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.embedding import Vectors
from ...core.files import write_atomic
from .ranking import WORDS, Signals, rank

_RIDGE = 3.0
"""Weight of staying where the embedder put the question."""
_FOLDS = 5
_FEWEST = 10
"""Examples below which nothing can be checked, so nothing is learnt."""
_WEIGHTS = (0.3, 0.5, 1.0, 2.0, 4.0)
"""Weights of the words that are tried."""

Shift = NDArray[np.float32]
"""Shape (dimension, dimension)."""
Evidence = tuple[Signals, NDArray[np.bool_]]
"""The candidates of one question, and which of them is right."""


@dataclass(frozen=True)
class TuningReport:
    """What tuning found."""

    examples: int
    """Questions whose passage was found in the index."""
    before: float = 0.0
    after: float = 0.0
    """Mean reciprocal rank of the right passage, cross-validated, without and with what was learnt."""
    shifted: bool = False
    """Whether questions are moved. Only what helps by more than its standard error is kept."""
    words: float = WORDS
    """Weight of the words against the vectors."""


@dataclass(frozen=True)
class Tuning:
    """What was learnt; the default changes nothing."""

    shift: Shift | None = None
    words: float = WORDS

    def move(self, questions: Vectors) -> Vectors:
        """The questions where tuning puts them, again of length 1."""
        return questions if self.shift is None else _moved(self.shift, questions)

    def save(self, path: Path, embedder: str) -> None:
        """Write it, in one step."""
        buffer = io.BytesIO()
        shift = np.zeros((0, 0)) if self.shift is None else self.shift
        np.savez_compressed(
            buffer, shift=shift.astype(np.float16), words=np.array(self.words), embedder=np.array(embedder)
        )
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, embedder: str) -> Tuning:
        """Read it; the default when there is none for this embedder."""
        if not path.is_file():
            return cls()
        with np.load(path) as file:
            if str(file["embedder"]) != embedder:
                return cls()
            shift = file["shift"].astype(np.float32)
            return cls(shift if shift.size else None, float(file["words"]))


def learn(questions: Vectors, passages: Vectors) -> Shift:
    """The linear shift that brings questions nearer to their passages: ridge regression on the difference.

    Both have shape (examples, dimension); row n of one belongs to row n of the other.
    """
    regular = questions.T @ questions + _RIDGE * np.eye(questions.shape[1])
    return np.linalg.solve(regular, questions.T @ (passages - questions)).astype(np.float32)


def crossed(questions: Vectors, passages: Vectors, rows: Sequence[int]) -> Vectors:
    """Each question moved by what the questions of other passages teach. `rows` names each question's passage."""
    distinct, place = np.unique(rows, return_inverse=True)
    folds = np.random.default_rng(0).permutation(len(distinct))[place] % _FOLDS
    moved = np.empty_like(questions)
    for fold in range(_FOLDS):
        inside, outside = folds == fold, folds != fold
        moved[inside] = _moved(learn(questions[outside], passages[outside]), questions[inside])
    return moved


def enough(rows: Sequence[int]) -> bool:
    """Whether there are examples enough to learn and to check."""
    return len(rows) >= _FEWEST and len(set(rows)) >= _FOLDS


def better(before: NDArray[np.float64], after: NDArray[np.float64]) -> bool:
    """Whether the gain is larger than its standard error."""
    gain = after - before
    return bool(gain.mean() > gain.std() / len(gain) ** 0.5)


def weigh(evidence: Sequence[Evidence]) -> tuple[float, NDArray[np.float64]]:
    """The weight of the words that serves the questions best, and their reciprocal ranks with it."""
    usual = reciprocal_ranks(evidence, WORDS)
    tried = {words: reciprocal_ranks(evidence, words) for words in _WEIGHTS}
    words = max(tried, key=lambda w: tried[w].mean())
    return (words, tried[words]) if better(usual, tried[words]) else (WORDS, usual)


def reciprocal_ranks(evidence: Sequence[Evidence], words: float = WORDS) -> NDArray[np.float64]:
    """One over the place of the right passage; 0 where it is not among the candidates."""
    ranks = []
    for signals, right in evidence:
        scores = rank(signals, words)
        ranks.append(1 / (1 + np.sum(scores > scores[right].max())) if right.any() else 0.0)
    return np.array(ranks, dtype=np.float64)


def _moved(shift: Shift, questions: Vectors) -> Vectors:
    moved = questions + questions @ shift
    return moved / np.linalg.norm(moved, axis=-1, keepdims=True)
