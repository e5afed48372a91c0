"""A choice among a question's own: kernel ridge regression over pairs of what is asked about and what is offered.

A question is cut into its subject and its wording. Two pairs are alike as their subjects and as their choices are,
either way round: what one question asks about, another offers. Whether a wording asks for what belongs together or for
what does not (`which is not …`) is a sign, learnt in turns with the pairs: each is fitted while the other stands still.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from ..core.embedding import Embedder
from ..core.errors import InputError
from .head import Labelled, Matrix, gram, shares, two_at_least
from .words import Words, words_of

RIDGE = 3.0
"""How far a pair that was seen once is distrusted."""

ALONE = 0.3
"""What being alike in subject only, or in choice only, counts for."""

OFFERED = 0.2
"""A word is of the subject where it stands in at least so many choices for each question that it stands in."""

STEADY = 0.3
"""How far a single wording's sign is distrusted, in parts of what wordings tell on average."""

TURNS = 3
"""Fits of the pairs and of the signs."""


class Things(NamedTuple):
    """Subjects and choices: (things, terms) and (things, dimension)."""

    words: sparse.csr_matrix
    vectors: Matrix


class Pairs:
    """Made by `fit`; chooses by `probabilities`.

    Args:
        wording: Words that belong to how a question asks.
        words, things: What was asked about or offered.
        pairs: (pairs, 2) numbers of things.
        belonging: (pairs,) coefficients.
        asked, ways: How wordings become terms; the terms of those that were learnt from.
        turning: (wordings,) coefficients of the signs.
    """

    def __init__(
        self,
        wording: frozenset[str],
        words: Words,
        things: Things,
        pairs: NDArray[np.int32],
        belonging: Matrix,
        asked: Words,
        ways: sparse.csr_matrix,
        turning: Matrix,
    ) -> None:
        self._wording, self._words, self._things, self._pairs = wording, words, things, pairs
        self._belonging, self._asked, self._ways, self._turning = belonging, asked, ways, turning

    @classmethod
    def fit(cls, rows: Sequence[Labelled], embedder: Embedder) -> Pairs:
        """Learn from questions with their choices. Time grows with the cube of the number of different pairs.

        Raises:
            InputError: the same answer to all, or a question without choices.
        """
        two_at_least(rows)
        if bare := [row.text for row in rows if not row.choices]:
            raise InputError(f"a question without choices: {bare[0]}")
        wording = _wording(rows)
        cells, right = [], []
        named, ways = dict[str, int](), dict[str, int]()
        for row in rows:
            subject, way = _cut(row.text, wording)
            for choice in row.choices:
                cells.append((_number(named, subject), _number(named, choice), _number(ways, way)))
                right.append((choice in row.answers) - 1 / len(row.choices))
        *both, way = np.array(cells, dtype=np.int32).T
        pairs, pair = np.unique(np.stack(both, axis=1), axis=0, return_inverse=True)
        shape = (len(pairs), len(ways))
        gains, counts = (sparse.csr_matrix((v, (pair, way)), shape) for v in (right, np.ones(len(right))))
        words, asked = Words.of([*named]), Words.of([*ways])
        things, told = _see([*named], words, embedder), asked.rows([*ways])
        kernel = _alike(_likeness(things, things), pairs, pairs)
        belonging, turning = _in_turns(kernel, gram(told, told), gains, counts)
        return cls(wording, words, things, pairs, belonging, asked, told, turning)

    def probabilities(self, rows: Sequence[Labelled], embedder: Embedder) -> list[dict[str, float]]:
        """How probable each choice of each row is."""
        cut = [_cut(row.text, self._wording) for row in rows]
        told = gram(self._asked.rows([way for _, way in cut]), self._ways)
        signs = _signs(told @ self._turning)
        return [self._among(*one, embedder) for one in zip(rows, cut, signs, strict=True)]

    def _among(self, row: Labelled, cut: tuple[str, str], sign: float, embedder: Embedder) -> dict[str, float]:
        seen = _see([cut[0], *row.choices], self._words, embedder)
        pairs = np.array([(0, number) for number in range(1, 1 + len(row.choices))])
        belonging = _alike(_likeness(seen, self._things), pairs, self._pairs) @ self._belonging
        return shares(row.choices, sign * belonging)


def _wording(rows: Sequence[Labelled]) -> frozenset[str]:
    """The words that questions share and choices seldom have."""
    asked = Counter(word for row in rows for word in {*words_of(row.text)})
    offered = Counter(word for row in rows for choice in row.choices for word in {*words_of(choice)})
    return frozenset(word for word, count in asked.items() if offered[word] < OFFERED * count)


def _cut(text: str, wording: frozenset[str]) -> tuple[str, str]:
    """Subject and wording; words that were never seen are of the subject."""
    words = words_of(text)
    return " ".join(w for w in words if w not in wording) or text, " ".join(w for w in words if w in wording)


def _number(numbers: dict[str, int], text: str) -> int:
    return numbers.setdefault(text, len(numbers))


def _see(texts: Sequence[str], words: Words, embedder: Embedder) -> Things:
    return Things(words.rows(texts), embedder.embed(texts))


def _likeness(some: Things, others: Things) -> Matrix:
    """(some, others), 0 to 1."""
    return (gram(some.words, others.words) + (some.vectors @ others.vectors.T) ** 2) / 2


def _alike(likeness: Matrix, some: NDArray[np.integer], others: NDArray[np.integer]) -> Matrix:
    """(some, others): how alike pairs are, whichever thing was asked about and whichever offered."""
    (a, b), (c, d) = some.T, others.T
    like = ALONE + likeness
    return (like[np.ix_(a, c)] * like[np.ix_(b, d)] + like[np.ix_(a, d)] * like[np.ix_(b, c)]) / 2


def _in_turns(
    kernel: Matrix, told: Matrix, gains: sparse.csr_matrix, counts: sparse.csr_matrix
) -> tuple[Matrix, Matrix]:
    """Coefficients of the pairs and of the signs, from (pairs, wordings) sums and numbers of answers."""
    seen = np.asarray(counts.sum(axis=1)).ravel()
    factor = cho_factor(kernel + np.diag(RIDGE / seen), overwrite_a=True, check_finite=False)
    turning, signs = np.zeros(len(told)), np.ones(len(told))
    for _ in range(TURNS):
        belonging = kernel @ cho_solve(factor, gains @ signs / seen)
        weight = counts.T @ belonging**2
        ridge = STEADY * weight.mean() * np.identity(len(told))
        turning = np.linalg.solve(weight[:, None] * told + ridge, gains.T @ belonging)
        signs = _signs(told @ turning)
    return cho_solve(factor, gains @ signs / seen), turning


def _signs(scores: Matrix) -> Matrix:
    return np.where(scores < 0, -1.0, 1.0)
