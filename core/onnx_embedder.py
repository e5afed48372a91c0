"""A sentence embedder from an ONNX file, on OpenVINO: MiniLM and others of its kind (mean pooling, unit length).

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
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .embedding import Vectors
from .errors import ModelError
from .models import LocalModel, ModelStore
from .openvino_library import openvino
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
        self, model: openvino.CompiledModel, tokenizer: Tokenizer, name: str, remembered: int = REMEMBERED
    ) -> None:
        self._model = model
        self._inputs = {item.get_any_name() for item in model.inputs}
        self._requests = threading.local()
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
        # Computed in float32 through and through: OpenVINO otherwise rounds to bf16, and activations to 8 bits.
        plan = {
            "INFERENCE_NUM_THREADS": settings().threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            tokenizer = Tokenizer.from_file(str(model.files["tokenizer"]))
            compiled = openvino.Core().compile_model(model.files["onnx"], "CPU", plan)
            tokenizer.no_padding()
            tokenizer.enable_truncation(MAX_TOKENS)
            return cls(compiled, tokenizer, f"{model.name}-{model.sha256('onnx')[:12]}", remembered)
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
            request = self._request()
            request.infer({name: feeds[name] for name in self._inputs}, share_inputs=True)
            return _pool(request.get_output_tensor(0).data, mask)

    def _request(self) -> openvino.InferRequest:
        """This thread's own: a request holds the tensors of one run."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        return self._requests.own


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
