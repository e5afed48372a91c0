"""How alike two tasks are: one similarity out of meaning (embedding), words and pieces of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.embedding import Vectors
from .lexicon import Lexicon, Sparse

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Mix:
    """The kernel: exp(gamma · (cosine − 1)) + words · word cosine + pieces · piece cosine."""

    gamma: float = 2.0
    words: float = 0.3
    pieces: float = 0.3
    ridge: float = 0.2
    """Added to the kernel's diagonal: how far single examples are distrusted."""


class Rows(NamedTuple):
    """Texts as the kernel sees them."""

    vectors: Vectors
    words: Sparse
    pieces: Sparse

    def take(self, index: NDArray[np.intp]) -> Rows:
        return Rows(self.vectors[index], self.words[index], self.pieces[index])


class Alike(NamedTuple):
    """Similarities of some texts (rows) with others (columns), signal by signal."""

    cosine: Matrix
    words: Matrix
    pieces: Matrix

    def mixed(self, mix: Mix) -> Matrix:
        kernel = np.subtract(self.cosine, 1, dtype=np.float32)
        kernel *= mix.gamma
        np.exp(kernel, out=kernel)
        if mix.words:
            kernel += np.float32(mix.words) * self.words
        if mix.pieces:
            kernel += np.float32(mix.pieces) * self.pieces
        return kernel


def alike(some: Rows, others: Rows) -> Alike:
    """Cosines between all pairs."""
    return Alike(
        some.vectors @ others.vectors.T,
        (some.words @ others.words.T).toarray(),
        (some.pieces @ others.pieces.T).toarray(),
    )


class Features:
    """The lexicons of a router; embedding is the caller's, so that it happens once a text."""

    RARE = 500
    """From so many texts on, a piece that occurs in only one of them is not kept."""

    def __init__(self, words: Lexicon, pieces: Lexicon) -> None:
        self.words, self.pieces = words, pieces

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Features:
        """Learn the terms of the texts."""
        twice = 2 if len(texts) >= cls.RARE else 1
        return cls(Lexicon.fit("words", texts), Lexicon.fit("pieces", texts, at_least=twice))

    def rows(self, texts: Sequence[str], vectors: Vectors) -> Rows:
        """The texts with their vectors as the kernel sees them."""
        return Rows(vectors, self.words.transform(texts), self.pieces.transform(texts))
