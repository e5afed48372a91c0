"""What all embedders on OpenVINO have in common: batches of similar length, and what was embedded a moment ago.

Pooling and normalisation follow Sentence-BERT (Reimers and Gurevych, 2019, arXiv:1908.10084).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .embedding import Vectors
from .openvino_library import openvino
from .run import timing
from .settings import settings

BATCH = 8
"""Texts in one run. Sorted by length, so little is padded; larger batches only lose the processor's caches."""
REMEMBERED = 256
"""Single texts kept: router, knowledge and memory embed the same question within one turn."""


def compiled(model: Path | openvino.Model, **options: Any) -> openvino.CompiledModel:
    """A model ready to run on the processor, in float32: OpenVINO otherwise computes in bf16 where that is quick."""
    plan = {
        "INFERENCE_NUM_THREADS": settings().threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    return openvino.Core().compile_model(model, "CPU", plan | options)


def batches(encoded: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Numbers of texts that are read in one run, those of like length together: little is padded."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


class BatchedEmbedder(ABC):
    """Text to unit vectors. Thread-safe; the same texts give the same vectors.

    Args:
        model: Gives one row a token, (batch, tokens, dimension).
        name: See `Embedder.name`.
        remembered: How many single texts are kept.
    """

    def __init__(self, model: openvino.CompiledModel, name: str, remembered: int = REMEMBERED) -> None:
        self._model = model
        self._name = name
        self._requests = threading.local()
        self._recent: OrderedDict[str, Vectors] = OrderedDict()
        self._remembered = remembered
        self._lock = threading.Lock()
        self._dimension = self._pooled([[0]]).shape[1]

    @property
    def name(self) -> str:
        """The model's name and the head of its hash."""
        return self._name

    @property
    def dimension(self) -> int:
        return self._dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimension), in the order of the texts."""
        return self._embed_one(texts[0]) if len(texts) == 1 else self._embed_all(texts, passages=False)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """The same for texts in which `embed` of a question shall find the answer."""
        return self._embed_all(texts, passages=True)

    @abstractmethod
    def has_word(self, word: str) -> bool:
        """Whether the model's vocabulary holds a word, in lower case, as a whole: then it is no typing error."""

    @abstractmethod
    def _encode(self, texts: Sequence[str], *, passages: bool) -> list[list[int]]:
        """Token ids of each text."""

    @abstractmethod
    def _feeds(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What the model takes. Both are (batch, tokens); the mask is 1 where a text has a token."""

    def _finish(self, means: NDArray[np.float32], *, passages: bool) -> Vectors:
        """From the means over the tokens, (batch, dimension), to vectors of length 1."""
        return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)

    def _embed_all(self, texts: Sequence[str], *, passages: bool) -> Vectors:
        encoded = self._encode(texts, passages=passages)
        means = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for rows in batches(encoded, BATCH):
            means[rows] = self._pooled([encoded[i] for i in rows])
        return self._finish(means, passages=passages)

    def _embed_one(self, text: str) -> Vectors:
        with self._lock:
            if text in self._recent:
                self._recent.move_to_end(text)
                return self._recent[text].copy()
        vector = self._embed_all([text], passages=False)
        with self._lock:
            self._recent[text] = vector.copy()
            if len(self._recent) > self._remembered:
                self._recent.popitem(last=False)
        return vector

    def _pooled(self, encoded: list[list[int]]) -> NDArray[np.float32]:
        """Means over each text's own tokens, (batch, dimension)."""
        hidden, mask = self._read(encoded)
        weights = mask[:, :, None].astype(np.float32)
        return (hidden * weights).sum(axis=1) / weights.sum(axis=1)

    def _read(self, encoded: list[list[int]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """A vector for each token, (batch, tokens, dimension), which this thread's next text overwrites; and (batch,
        tokens), 1 where a text has a token.
        """
        longest = max(len(ids) for ids in encoded)
        ids = np.zeros((len(encoded), longest), dtype=np.int64)  # (batch, tokens)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        with timing("embed", self.name):
            request = self._request()
            request.infer(self._feeds(ids, mask), share_inputs=True)
            return request.get_output_tensor(0).data, mask

    def _request(self) -> openvino.InferRequest:
        """This thread's own: a request holds the tensors of one run."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        return self._requests.own
