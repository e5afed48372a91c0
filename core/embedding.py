"""Text to vectors: the one embedder that router, knowledge and memory share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Shape (number of texts, dimension); rows have length 1, so a dot product is a cosine."""


@runtime_checkable
class Embedder(Protocol):
    """What every embedder offers."""

    @property
    def name(self) -> str:
        """Identifies the vectors: an index built with one name is never searched with another."""
        ...

    @property
    def dimension(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Of questions, and of texts that are compared with their like."""
        ...


@runtime_checkable
class KnowsWords(Protocol):
    """An embedder that can tell a rare word from a typing error."""

    def has_word(self, word: str) -> bool:
        """Whether its vocabulary holds a word, in lower case, as a whole."""
        ...


@runtime_checkable
class TwoSided(Protocol):
    """An embedder to which a question and the passage that answers it are two kinds of text."""

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Of passages, to be compared with the `embed` of a question."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """An embedder that also compares a question with a passage word by word, which tells more than two vectors."""

    def compare(self, question: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """How near each passage comes to the question, at most 1; (number of passages,)."""
        ...


def embed_passages(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Vectors of passages, in which `embedder.embed` of a question finds the answer."""
    return embedder.embed_passages(texts) if isinstance(embedder, TwoSided) else embedder.embed(texts)
