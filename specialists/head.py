"""A label by likeness: kernel ridge regression over labelled examples, beside the language model.

Two texts are alike by their words (TF-IDF) and by their meaning (the square of their embeddings' cosine). Where every
text has choices of its own, pairs of text and choice are scored, and pairs are alike as their texts times their
choices are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from ..core.embedding import Embedder
from ..core.errors import InputError, StateError
from ..core.files import write_atomic
from .words import Words

Matrix = NDArray[np.floating]

RIDGE = 0.3
"""How far a single example is distrusted."""

SHARP = 2
"""Power of likeness where texts have choices of their own."""

TEMPERATURE = 0.12
"""Turns scores into probabilities: scores are near 1 for what is sure and near 0 for the rest."""


@dataclass(frozen=True)
class Labelled:
    """A text with the labels that are right, and its own choices if it has any."""

    text: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()


class Seen(NamedTuple):
    """Texts as a head sees them: (texts, terms) and (texts, dimension)."""

    words: sparse.csr_matrix
    vectors: Matrix


class Head:
    """Made by `fit`, `load`; chooses by `probabilities`.

    Args:
        labels: Shared by all texts; empty where each brings its own choices.
        words: The terms that count.
        texts: What was learnt from.
        options: The choices that were learnt from, where texts have their own.
        pairs: (examples, 2) numbers of text and choice, likewise.
        coefficients: (texts, labels) or (examples,).
        prior: (labels,) share of each label.
    """

    def __init__(
        self,
        labels: Sequence[str],
        words: Words,
        texts: Seen,
        options: Seen,
        pairs: NDArray[np.int32],
        coefficients: Matrix,
        prior: Matrix,
    ) -> None:
        self.labels = tuple(labels)
        self._words, self._texts, self._options, self._pairs = words, texts, options, pairs
        self._coefficients, self._prior = coefficients, prior

    @classmethod
    def fit(cls, rows: Sequence[Labelled], embedder: Embedder) -> Head:
        """Learn from examples. Time grows with the cube of their number (of their choices, where these differ).

        Raises:
            InputError: fewer than two different labels.
        """
        if len({answer for row in rows for answer in row.answers}) < 2:
            raise InputError("a head needs examples of two labels at least")
        options = [*dict.fromkeys(choice for row in rows for choice in row.choices)]
        texts = [row.text for row in rows]
        words = Words.of([*texts, *options], least=1 if options else 2)
        seen, offered = _see(texts, words, embedder), _see(options, words, embedder)
        if not options:
            labels = sorted({answer for row in rows for answer in row.answers})
            targets = np.array([[label in row.answers for label in labels] for row in rows], dtype=np.float32)
            prior = targets.mean(axis=0)
            coefficients = _solve(_likeness(seen, seen), targets - prior)
            return cls(labels, words, seen, offered, np.zeros((0, 2), np.int32), coefficients, prior)
        number = {option: n for n, option in enumerate(options)}
        pairs = np.array([(n, number[c]) for n, row in enumerate(rows) for c in row.choices], dtype=np.int32)
        right = np.array([(c in row.answers) - 1 / len(row.choices) for row in rows for c in row.choices], np.float32)
        one, other = pairs.T
        kernel = _likeness(seen, seen, SHARP)[np.ix_(one, one)]
        kernel *= _likeness(offered, offered, SHARP)[np.ix_(other, other)]
        return cls((), words, seen, offered, pairs, _solve(kernel, right), np.zeros(0, np.float32))

    def probabilities(self, rows: Sequence[Labelled], embedder: Embedder) -> list[dict[str, float]]:
        """How probable each choice of each row is; without choices of its own, each of the labels."""
        likeness = _likeness(_see([row.text for row in rows], self._words, embedder), self._texts, self._power)
        return [_shares(*self._scores(row, like, embedder)) for row, like in zip(rows, likeness, strict=True)]

    @property
    def _power(self) -> int:
        return 1 if self.labels else SHARP

    def _scores(self, row: Labelled, like: Matrix, embedder: Embedder) -> tuple[Sequence[str], Matrix]:
        if self.labels:
            scores = like @ self._coefficients + self._prior
            chosen = [self.labels.index(choice) for choice in row.choices] or [*range(len(self.labels))]
            return [self.labels[n] for n in chosen], scores[chosen]
        one, other = self._pairs.T
        offered = _likeness(_see(row.choices, self._words, embedder), self._options, SHARP)
        return row.choices, (offered[:, other] * like[one]) @ self._coefficients

    def save(self, path: Path) -> None:
        """Write everything to one `.npz`; vectors in f16, about 0.8 KB a text."""
        buffer = BytesIO()
        terms = np.frombuffer(json.dumps([[*self._words.terms], self.labels]).encode(), dtype=np.uint8)
        arrays = {"terms": terms, "weights": self._words.weights, "pairs": self._pairs, "prior": self._prior}
        for name, seen in (("texts", self._texts), ("options", self._options)):
            arrays |= {f"{name}.{part}": getattr(seen.words, part) for part in ("data", "indices", "indptr")}
            arrays[f"{name}.vectors"] = seen.vectors.astype(np.float16)
        np.savez_compressed(buffer, coefficients=self._coefficients, **arrays)
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Head:
        """Raises StateError when the file cannot be read."""
        try:
            with np.load(path, allow_pickle=False) as found:
                arrays = dict(found)
            terms, labels = json.loads(arrays["terms"].tobytes())
            words = Words({term: number for number, term in enumerate(terms)}, arrays["weights"])
            texts, options = (_stored(arrays, name, len(terms)) for name in ("texts", "options"))
        except (OSError, ValueError, KeyError) as error:
            raise StateError(f"{path} is no label head: {error}", hint="metier build --fresh") from error
        return cls(labels, words, texts, options, arrays["pairs"], arrays["coefficients"], arrays["prior"])


def accuracy(rows: Sequence[Labelled], groups: Sequence[str], embedder: Embedder, folds: int = 5) -> list[bool]:
    """Whether each row is answered right by a head that learnt from the other folds; a group is never cut.

    Fewer groups than folds: one group a fold.
    """
    order = {group: n % folds for n, group in enumerate(sorted(set(groups)))}
    known, right = Remembered(embedder), [False] * len(rows)
    for fold in sorted(set(order.values())):
        held = [n for n, group in enumerate(groups) if order[group] == fold]
        head = Head.fit([row for row, group in zip(rows, groups, strict=True) if order[group] != fold], known)
        for n, chances in zip(held, head.probabilities([rows[n] for n in held], known), strict=True):
            right[n] = max(chances, key=chances.__getitem__) in rows[n].answers
    return right


class Remembered:
    """An embedder that reads each text once, for as long as it lives."""

    def __init__(self, embedder: Embedder) -> None:
        self.name, self.dimension, self._embedder = embedder.name, embedder.dimension, embedder
        self._known: dict[str, Matrix] = {}

    def embed(self, texts: Sequence[str]) -> Matrix:
        """As the embedder does."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._embedder.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def _see(texts: Sequence[str], words: Words, embedder: Embedder) -> Seen:
    vectors = embedder.embed(texts) if texts else np.zeros((0, embedder.dimension), np.float32)
    return Seen(words.rows(texts), vectors)


def _likeness(some: Seen, others: Seen, power: int = 1) -> Matrix:
    """(some, others), 0 to 1."""
    words = np.asarray((some.words @ others.words.T).todense(), dtype=np.float32)
    return ((words + (some.vectors @ others.vectors.T) ** 2) / 2) ** power


def _solve(kernel: Matrix, targets: Matrix) -> Matrix:
    kernel[np.diag_indices_from(kernel)] += RIDGE
    return cho_solve(cho_factor(kernel, overwrite_a=True, check_finite=False), targets, check_finite=False)


def _shares(choices: Sequence[str], scores: Matrix) -> dict[str, float]:
    weights = np.exp((scores - scores.max()) / TEMPERATURE)
    return dict(zip(choices, (weights / weights.sum()).tolist(), strict=True))


def _stored(arrays: dict[str, NDArray], name: str, terms: int) -> Seen:
    parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    vectors = arrays[f"{name}.vectors"].astype(np.float32)
    return Seen(sparse.csr_matrix(parts, shape=(len(vectors), terms)), vectors)
