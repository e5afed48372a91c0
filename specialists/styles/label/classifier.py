"""A label by likeness: kernel ridge regression over labelled examples, beside the language model.

Two texts are alike by their words, by the pieces of these, and by their meaning (the square of their embeddings'
cosine). What words say is folded into one number for each term and label; only what is meant needs the examples.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from ....core.embedding import Embedder
from ....core.errors import InputError, StateError
from ....core.files import write_atomic

# Texts as weighted words and pieces of words: what embeddings miss, such as `not`, names and numbers.


BUCKETS = 2**15
"""Columns of phrases, and of pieces. Terms find theirs by a hash, so that none has to be stored."""


PIECES = range(3, 6)
"""Letters in a piece of a word."""


_WORD = re.compile(r"\w+")


class Words:
    """Phrases and pieces of words by how rare they are (TF-IDF with logarithmic counts).

    Args:
        weights: (2 BUCKETS,) inverse document frequencies.
    """

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """With the frequencies of the texts."""
        seen = Counter(column for text in texts for half in _terms(text) for column in half)
        counts = np.zeros(2 * BUCKETS, dtype=np.float32)
        counts[[*seen]] = [*seen.values()]
        return cls(np.log((1 + len(texts)) / (1 + counts)) + 1)

    def rows(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """(texts, 2 BUCKETS), rows of length 1, phrases and pieces the half each; zeros for a text without words."""
        data, columns, ends = list[float](), list[int](), [0]
        for text in texts:
            for half in _terms(text):
                values = [(1 + math.log(count)) * self.weights[column] for column, count in half.items()]
                length = math.sqrt(2 * sum(value * value for value in values)) or 1.0
                data += [value / length for value in values]
                columns += half
            ends.append(len(columns))
        return sparse.csr_matrix((np.array(data, dtype=np.float32), columns, ends), shape=(len(texts), 2 * BUCKETS))


def _terms(text: str) -> tuple[Counter[int], Counter[int]]:
    """How often there is something in each column of phrases, and of pieces."""
    words = _WORD.findall(text.lower())
    phrases = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
    pieces = [piece for word in words for piece in _pieces(f" {word} ")]
    return Counter(map(_column, phrases)), Counter(BUCKETS + _column(piece) for piece in pieces)


def _pieces(word: str) -> Iterator[str]:
    for size in PIECES:
        yield from (word[at : at + size] for at in range(len(word) - size + 1))


def _column(term: str) -> int:
    return crc32(term.encode()) % BUCKETS


Matrix = NDArray[np.floating]


FORM = "head-2"
"""Of the file and the method: heads of another form are fitted again."""


MEANING = 1 / 3
"""Share of the meaning in how alike two texts are; the rest is words."""


RIDGE = 0.3
"""How far a single example is distrusted."""


PRIOR = 0.5
"""How much of a label's share of the examples counts for it; examples of frequent labels speak for these already."""


TEMPERATURE = 0.12
"""Turns scores into probabilities: scores are near 1 for what is sure and near 0 for the rest."""


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
    """

    def __init__(
        self,
        labels: Sequence[str],
        words: Words,
        weights: Matrix,
        vectors: Matrix,
        coefficients: Matrix,
        prior: Matrix,
    ) -> None:
        self.labels = tuple(labels)
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
        words, vectors = Words.of(texts), embedder.embed(texts)
        seen = words.rows(texts)
        targets = np.array([[label in row.answers for label in labels] for row in rows], dtype=np.float32)
        share = targets.mean(axis=0)
        kernel = (1 - MEANING) * np.asarray((seen @ seen.T).todense(), dtype=np.float32) + _meaning(vectors, vectors)
        kernel[np.diag_indices_from(kernel)] += RIDGE
        coefficients = cho_solve(cho_factor(kernel, overwrite_a=True, check_finite=False), targets - share)
        return cls(labels, words, (1 - MEANING) * (seen.T @ coefficients), vectors, coefficients, PRIOR * share)

    def probabilities(self, texts: Sequence[str], embedder: Embedder) -> list[dict[str, float]]:
        """How probable each label of each text is."""
        meant = _meaning(embedder.embed(texts), self._vectors) @ self._coefficients
        scores = self._words.rows(texts) @ self._weights + meant + self._prior
        return [shares(self.labels, row) for row in scores]

    def save(self, path: Path) -> None:
        """Write everything to one `.npz`; f16: 0.13 MB a label, and 0.8 KB and 2 bytes a label for each example."""
        about = np.frombuffer(json.dumps({"form": FORM, "labels": self.labels}).encode(), dtype=np.uint8)
        buffer = BytesIO()
        np.savez_compressed(
            buffer,
            about=about,
            rarity=self._words.weights,
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
            with np.load(path, allow_pickle=False) as found:
                arrays = dict(found)
            about = json.loads(arrays["about"].tobytes())
            if about["form"] != FORM:
                raise ValueError(f"its form is {about['form']}, not {FORM}")
            parts = [arrays[name].astype(np.float32) for name in ("weights", "vectors", "coefficients", "prior")]
            return cls(about["labels"], Words(arrays["rarity"]), *parts)
        except (OSError, ValueError, KeyError) as error:
            raise StateError(f"{path} is no label head: {error}", hint="metier build --fresh") from error


def accuracy(rows: Sequence[Labelled], groups: Sequence[str], embedder: Embedder, folds: int = 5) -> list[bool]:
    """Whether each row is answered right by a head that learnt from the other folds; a group is never cut.

    Fewer groups than folds: one group a fold.
    """
    order = {group: n % folds for n, group in enumerate(sorted(set(groups)))}
    known, right = Remembered(embedder), [False] * len(rows)
    for fold in sorted(set(order.values())):
        held = [n for n, group in enumerate(groups) if order[group] == fold]
        head = LabelClassifier.fit(
            [row for row, group in zip(rows, groups, strict=True) if order[group] != fold], known
        )
        for n, chances in zip(held, head.probabilities([rows[n].text for n in held], known), strict=True):
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


def shares(labels: Sequence[str], scores: Matrix) -> dict[str, float]:
    """Probabilities out of scores."""
    weights = np.exp((scores - scores.max()) / TEMPERATURE)
    return dict(zip(labels, (weights / weights.sum()).tolist(), strict=True))


def _meaning(some: Matrix, others: Matrix) -> Matrix:
    return MEANING * (some @ others.T) ** 2
