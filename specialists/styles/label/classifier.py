"""A label by likeness: kernel ridge regression over labelled examples, beside the language model.

Two texts are alike by their words, by the pieces of these, and by their meaning (the square of their embeddings'
cosine). What words say is folded into one number for each term and label; only what is meant needs the examples.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from scipy import sparse

from ....core.embedding import Embedder
from ....core.errors import InputError, StateError
from ....core.files import write_atomic
from ....core.kernel_ridge import Matrix, fit_kernel_ridge
from ....core.text import HASH_BUCKETS, hash_bucket, plain_words, with_pairs, word_pieces

LABEL_FORM = "head-2"
"""Of the file and the method: classifiers of another form are fitted again."""
MEANING = 1 / 3
"""Share of the meaning in how alike two texts are; the rest is words."""
RIDGE = 0.3
"""How far a single example is distrusted."""
PRIOR_SHARE = 0.5
"""How much of a label's share of the examples counts for it; examples of frequent labels speak for these already."""
_TEMPERATURE = 0.12
"""Turns scores into probabilities: scores are near 1 for what is sure and near 0 for the rest."""
_PIECES = (3, 4, 5)
"""Letters in a piece of a word."""


class HashedTfIdf:
    """Texts as phrases and pieces of words by how rare these are (TF-IDF with logarithmic counts).

    Args:
        rarity: (2 HASH_BUCKETS,) inverse document frequencies: of phrases, then of pieces.
    """

    def __init__(self, rarity: Matrix) -> None:
        self.rarity = rarity

    @classmethod
    def fit(cls, texts: Sequence[str]) -> HashedTfIdf:
        """With the frequencies of the texts."""
        texts_with = Counter(column for text in texts for half in _column_counts(text) for column in half)
        counts = np.zeros(2 * HASH_BUCKETS, dtype=np.float32)
        counts[[*texts_with]] = [*texts_with.values()]
        return cls(np.log((1 + len(texts)) / (1 + counts)) + 1)

    def rows(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """(texts, 2 HASH_BUCKETS), rows of length 1, phrases and pieces the half each; zeros without words."""
        data, columns, ends = list[float](), list[int](), [0]
        for text in texts:
            for half in _column_counts(text):
                values = [(1 + math.log(count)) * self.rarity[column] for column, count in half.items()]
                length = math.sqrt(2 * sum(value * value for value in values)) or 1.0
                data += [value / length for value in values]
                columns += half
            ends.append(len(columns))
        shape = (len(texts), 2 * HASH_BUCKETS)
        return sparse.csr_matrix((np.array(data, dtype=np.float32), columns, ends), shape=shape)


def _column_counts(text: str) -> tuple[Counter[int], Counter[int]]:
    """How often there is something in each column of phrases, and of pieces."""
    words = plain_words(text)
    pieces = (piece for word in words for piece in word_pieces(word, _PIECES))
    return Counter(map(hash_bucket, with_pairs(words))), Counter(HASH_BUCKETS + hash_bucket(piece) for piece in pieces)


@dataclass(frozen=True)
class Labelled:
    """A text with the labels that are right."""

    text: str
    answers: tuple[str, ...]


class LabelClassifier:
    """Chooses among labels that all texts share. Made by `fit` or `load`.

    Args:
        labels: What can be chosen.
        words: How texts become terms.
        weights: (terms, labels) what a term says for a label.
        vectors: (examples, dimension) embeddings of what was learnt from.
        coefficients: (examples, labels) what being meant alike says for a label.
        prior: (labels,) what being frequent says for a label.
        accuracy: Share (0 to 1) of the examples that are labelled right when each is left out; None where unknown.
    """

    def __init__(
        self,
        labels: Sequence[str],
        words: HashedTfIdf,
        weights: Matrix,
        vectors: Matrix,
        coefficients: Matrix,
        prior: Matrix,
        accuracy: float | None = None,
    ) -> None:
        self.labels, self.accuracy = tuple(labels), accuracy
        self._words, self._weights, self._vectors = words, weights, vectors
        self._coefficients, self._prior = coefficients, prior

    @classmethod
    def fit(cls, rows: Sequence[Labelled], embedder: Embedder) -> LabelClassifier:
        """Learn from examples. Time grows with the cube of their number.

        Raises:
            InputError: fewer than two different labels.
        """
        labels = sorted({answer for row in rows for answer in row.answers})
        if len(labels) < 2:
            raise InputError("a head needs examples of two labels at least")
        texts = [row.text for row in rows]
        words, vectors = HashedTfIdf.fit(texts), embedder.embed(texts)
        counted = words.rows(texts)
        targets = np.array([[label in row.answers for label in labels] for row in rows], dtype=np.float32)
        kernel = (1 - MEANING) * np.asarray((counted @ counted.T).todense(), np.float32) + _meaning(vectors, vectors)
        fitted = fit_kernel_ridge(kernel, targets, RIDGE)
        prior = PRIOR_SHARE * fitted.prior
        best = (fitted.held_out - fitted.prior + prior).argmax(axis=1)
        return cls(
            labels,
            words,
            (1 - MEANING) * (counted.T @ fitted.coefficients),
            vectors,
            fitted.coefficients,
            prior,
            accuracy=float(targets[np.arange(len(rows)), best].mean()),
        )

    def probabilities(self, texts: Sequence[str], embedder: Embedder) -> list[dict[str, float]]:
        """How probable each label of each text is."""
        meant = _meaning(embedder.embed(texts), self._vectors) @ self._coefficients
        scores = self._words.rows(texts) @ self._weights + meant + self._prior
        return [label_shares(self.labels, row) for row in scores]

    def save(self, path: Path) -> None:
        """Write everything to one `.npz`; f16: 0.13 MB a label, and 0.8 KB and 2 bytes a label for each example."""
        about = np.frombuffer(json.dumps({"form": LABEL_FORM, "labels": self.labels}).encode(), dtype=np.uint8)
        buffer = BytesIO()
        np.savez_compressed(
            buffer,
            about=about,
            rarity=self._words.rarity,
            prior=self._prior,
            weights=self._weights.astype(np.float16),
            vectors=self._vectors.astype(np.float16),
            coefficients=self._coefficients.astype(np.float16),
        )
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> LabelClassifier:
        """Raises StateError when the file cannot be read, or is of another form."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            about = json.loads(arrays["about"].tobytes())
            if about["form"] != LABEL_FORM:
                raise ValueError(f"its form is {about['form']}, not {LABEL_FORM}")
            parts = [arrays[name].astype(np.float32) for name in ("weights", "vectors", "coefficients", "prior")]
            return cls(about["labels"], HashedTfIdf(arrays["rarity"]), *parts)
        except (OSError, ValueError, KeyError) as error:
            raise StateError(f"{path} is no label head: {error}", hint="metier build --fresh") from error


def label_shares(labels: Sequence[str], scores: Matrix) -> dict[str, float]:
    """Probabilities out of scores."""
    weights = np.exp((scores - scores.max()) / _TEMPERATURE)
    return dict(zip(labels, (weights / weights.sum()).tolist(), strict=True))


def _meaning(some: Matrix, others: Matrix) -> Matrix:
    return MEANING * (some @ others.T) ** 2
