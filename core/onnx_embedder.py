"""A sentence embedder on ONNX Runtime: MiniLM and others of its kind (mean pooling, unit length).

Pooling and normalisation follow Sentence-BERT (Reimers and Gurevych, 2019, arXiv:1908.10084). The built-in MiniLM keeps
its weights as int8 in the file and computes in float32, so a text's vector does not depend on its neighbours in a batch
(beyond float rounding, about 1e-6). That would not hold for models that quantise activations while they run.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .embedding import Vectors
from .errors import ModelError
from .models import LocalModel, ModelStore
from .run import timing
from .settings import settings

MAX_TOKENS = 256
"""Longer texts are cut: what the model was published with."""
BATCH = 8
"""Texts in one run. Sorted by length, so little is padded; larger batches only lose the processor's caches."""
REMEMBERED = 256
"""Single texts kept: router, knowledge and memory embed the same question within one turn."""


class OnnxEmbedder:
    """Text to unit vectors. Thread-safe; the same texts give the same vectors."""

    def __init__(
        self, session: ort.InferenceSession, tokenizer: Tokenizer, name: str, remembered: int = REMEMBERED
    ) -> None:
        self._session = session
        self._inputs = {item.name for item in session.get_inputs()}
        self._tokenizer = tokenizer
        self._name = name
        self._recent: OrderedDict[str, Vectors] = OrderedDict()
        self._remembered = remembered
        self._lock = threading.Lock()
        self._dimension = self._run([[0]]).shape[1]

    @classmethod
    def load(cls, model: LocalModel, *, remembered: int = REMEMBERED) -> OnnxEmbedder:
        """Open the `onnx` and `tokenizer` files of a model; `remembered` is how many single texts are kept.

        Raises:
            ModelError: it is not an embedder, or a file of it cannot be read.
        """
        if not {"onnx", "tokenizer"} <= set(model.files):
            raise ModelError(f"model '{model.name}' is a {model.kind}, not an embedder", hint="metier models list")
        options = ort.SessionOptions()
        options.intra_op_num_threads = settings().threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait would take the cores from the language model beside us.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            tokenizer = Tokenizer.from_file(str(model.files["tokenizer"]))
            session = ort.InferenceSession(str(model.files["onnx"]), options, providers=["CPUExecutionProvider"])
            tokenizer.no_padding()
            tokenizer.enable_truncation(MAX_TOKENS)
            return cls(session, tokenizer, f"{model.name}-{model.sha256('onnx')[:12]}", remembered)
        except Exception as error:  # Both libraries raise their own kinds, some of them plain Exception.
            raise ModelError(
                f"model '{model.name}' cannot be opened: {error}", hint=f"metier models pull {model.name}"
            ) from error

    @property
    def name(self) -> str:
        """The model's name and the head of its hash."""
        return self._name

    @property
    def dimension(self) -> int:
        return self._dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimension), in the order of the texts."""
        if len(texts) == 1:
            return self._embed_one(texts[0])
        encoded = [item.ids for item in self._tokenizer.encode_batch(list(texts))]
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            vectors[rows] = self._run([encoded[i] for i in rows])
        return vectors

    def has_word(self, word: str) -> bool:
        """Whether the model's vocabulary holds a word, in lower case, as a whole: then it is no typing error."""
        return len(self._tokenizer.encode(word, add_special_tokens=False).ids) == 1

    def _embed_one(self, text: str) -> Vectors:
        with self._lock:
            if text in self._recent:
                self._recent.move_to_end(text)
                return self._recent[text].copy()
        vector = self._run([self._tokenizer.encode(text).ids])
        with self._lock:
            self._recent[text] = vector.copy()
            if len(self._recent) > self._remembered:
                self._recent.popitem(last=False)
        return vector

    def _run(self, encoded: list[list[int]]) -> Vectors:
        longest = max(len(ids) for ids in encoded)
        ids = np.zeros((len(encoded), longest), dtype=np.int64)  # (batch, tokens)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        with timing("embed"):
            hidden = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
        return _pool(np.asarray(hidden, dtype=np.float32), mask)


def _pool(hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> Vectors:
    """Mean over a text's own tokens, then length 1. hidden: (batch, tokens, dimension), mask: (batch, tokens)."""
    weights = mask[:, :, None].astype(np.float32)
    mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)


@lru_cache(maxsize=4)
def _opened(name: str, home: Path) -> OnnxEmbedder:
    return OnnxEmbedder.load(ModelStore(home).find(name))


_opening = threading.Lock()


def load_embedder(name: str = "minilm", store: ModelStore | None = None) -> OnnxEmbedder:
    """The embedder of that name, opened once per process.

    Raises:
        UnknownModel, ModelNotPulled, IntegrityError: see `ModelStore.find`.
        ModelError: it is not an embedder, or cannot be opened.
    """
    with _opening:
        return _opened(name, (store or ModelStore()).home)
