"""What a router learns from, and how alike two tasks are: by meaning (embedding), words and pieces of words."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ..core.embedding import Vectors
from ..core.kernel_ridge import Matrix
from ..core.text import plain_words, with_pairs
from ..core.types import Value

Sparse = csr_matrix
"""Shape (number of texts, number of terms); rows have length 1 or 0."""
_SIZES = (2, 3, 4, 5)
_HEAD, _TAIL = 1500, 500
"""Of a longer text the first and last so many characters are looked at: who is asked stands there."""

_NO_LETTER = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of characters that no encoding can write."""


def normalise_example(text: str) -> str:
    """The text as the router reads it: composed characters, single blanks, no more than it looks at."""
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]} {text[-_TAIL:]}"
    plain = _NO_LETTER.sub(" ", unicodedata.normalize("NFKC", text))
    return re.sub(r"\s+", " ", plain).strip()


def lexicon_words(text: str) -> list[str]:
    """Words and pairs of neighbouring words, in lower case."""
    return with_pairs(plain_words(text))


def pieces(text: str) -> list[str]:
    """Runs of 2 to 5 characters within words; a blank marks where a word begins and ends."""
    runs: list[str] = []
    for word in text.lower().split():
        padded = f" {word} "
        for size in _SIZES:
            runs += [padded[i : i + size] for i in range(max(1, len(padded) - size + 1))]
    return runs


_ANALYSERS: dict[str, Callable[[str], list[str]]] = {"words": lexicon_words, "pieces": pieces}


class Lexicon:
    """Texts as weighted counts of the words or pieces of words it was fitted on (TF-IDF; Salton and Buckley, 1988)."""

    def __init__(self, analyser: str, terms: Sequence[str], idf: NDArray[np.float32]) -> None:
        self.analyser, self.terms, self.idf = analyser, list(terms), idf
        self._analyse = _ANALYSERS[analyser]
        self._index = {term: i for i, term in enumerate(self.terms)}
        self._weights: list[float] = idf.tolist()

    @classmethod
    def fit(cls, analyser: str, texts: Sequence[str], *, at_least: int = 1) -> Lexicon:
        """Learn the terms that occur in at least so many of the texts, and how rare each is."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(set(_ANALYSERS[analyser](text)))
        terms = sorted(term for term, count in counts.items() if count >= at_least)
        idf = [math.log((1 + len(texts)) / (1 + counts[term])) + 1 for term in terms]
        return cls(analyser, terms, np.array(idf, dtype=np.float32))

    def row(self, text: str) -> tuple[list[int], list[float]]:
        """Columns and values of one text; the values' squares sum to 1."""
        counts: dict[int, int] = {}
        for term in self._analyse(text):
            column = self._index.get(term)
            if column is not None:
                counts[column] = counts.get(column, 0) + 1
        columns = list(counts)
        values = [(1 + math.log(count)) * self._weights[column] for column, count in counts.items()]
        length = math.sqrt(sum(value * value for value in values)) or 1.0
        return columns, [value / length for value in values]

    def transform(self, texts: Iterable[str]) -> Sparse:
        """The texts as rows."""
        columns: list[int] = []
        values: list[float] = []
        ends = [0]
        for text in texts:
            own, weights = self.row(text)
            columns += own
            values += weights
            ends.append(len(columns))
        shape = (len(ends) - 1, len(self.terms))
        return csr_matrix((np.array(values, dtype=np.float32), np.array(columns, dtype=np.int32), ends), shape=shape)


@dataclass(frozen=True)
class Mix:
    """The kernel: exp(gamma · (cosine − 1)) + words · word cosine + pieces · piece cosine."""

    gamma: float = 2.0
    words: float = 0.3
    pieces: float = 0.3
    ridge: float = 0.2
    """Added to the kernel's diagonal: how far single examples are distrusted."""


class FeatureRows(NamedTuple):
    """Texts as the kernel sees them."""

    vectors: Vectors
    words: Sparse
    pieces: Sparse

    def take(self, index: NDArray[np.intp]) -> FeatureRows:
        return FeatureRows(self.vectors[index], self.words[index], self.pieces[index])


class Similarities(NamedTuple):
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


def similarities(some: FeatureRows, others: FeatureRows) -> Similarities:
    """Cosines between all pairs."""
    return Similarities(
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

    def rows(self, texts: Sequence[str], vectors: Vectors) -> FeatureRows:
        """The texts with their vectors as the kernel sees them."""
        return FeatureRows(vectors, self.words.transform(texts), self.pieces.transform(texts))


class Example(Value):
    """A text, and who it belongs to."""

    text: str
    label: str | None = None
    """A specialist's name; None means that nobody on the team should answer."""
    kind: Literal["task", "description", "document"] = "task"
    """Only tasks are what people will type; the others are trusted less and never used to calibrate."""


TaskExamples = Sequence[Example] | Mapping[str, Sequence[str]]
"""Either form is taken wherever examples are: a list, or a specialist's name to its tasks."""


def flatten(examples: TaskExamples) -> list[Example]:
    """As a list of normalised texts without blanks; of equal texts with one label the first is kept."""
    if isinstance(examples, Mapping):
        examples = [Example(text=text, label=name) for name, texts in examples.items() for text in texts]
    kept: dict[tuple[str, str | None], Example] = {}
    for example in examples:
        text = normalise_example(example.text)
        if text:
            kept.setdefault((text, example.label), example.model_copy(update={"text": text}))
    return list(kept.values())


def as_examples(
    label: str | None, kind: Literal["task", "description", "document"], texts: Iterable[str]
) -> list[Example]:
    """Texts of one kind for one specialist."""
    return [Example(text=text, label=label, kind=kind) for text in texts]
