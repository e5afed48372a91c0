"""A sentence embedder from an ONNX file, on OpenVINO: MiniLM and others of its kind (mean pooling, unit length).

The built-in MiniLM keeps its weights as int8 in the file and computes in float32, so a text's vector does not depend on
its neighbours in a batch (beyond float rounding, about 1e-6).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .batched_embedder import REMEMBERED, BatchedEmbedder, compiled
from .e5_embedder import E5Embedder
from .errors import ModelError
from .models import LocalModel, ModelStore
from .openvino_library import openvino

MAX_TOKENS = 256
"""Longer texts are cut: what the model was published with."""


class OnnxEmbedder(BatchedEmbedder):
    """Text to unit vectors with the model of an ONNX file; questions and passages are alike to it."""

    def __init__(
        self, model: openvino.CompiledModel, tokenizer: Tokenizer, name: str, remembered: int = REMEMBERED
    ) -> None:
        self._inputs = {item.get_any_name() for item in model.inputs}
        self._tokenizer = tokenizer
        super().__init__(model, name, remembered)

    @classmethod
    def load(cls, model: LocalModel, *, remembered: int = REMEMBERED) -> OnnxEmbedder:
        """Open the `onnx` and `tokenizer` files of a model; `remembered` is how many single texts are kept.

        Raises:
            ModelError: it is not an embedder, or a file of it cannot be read.
        """
        if not {"onnx", "tokenizer"} <= set(model.files):
            raise ModelError(f"model '{model.name}' is a {model.kind}, not an embedder", hint="metier models list")
        try:
            tokenizer = Tokenizer.from_file(str(model.files["tokenizer"]))
            # Activations stay as they are: OpenVINO would otherwise round them to 8 bits.
            session = compiled(model.files["onnx"], DYNAMIC_QUANTIZATION_GROUP_SIZE=0)
            tokenizer.no_padding()
            tokenizer.enable_truncation(MAX_TOKENS)
            return cls(session, tokenizer, f"{model.name}-{model.sha256('onnx')[:12]}", remembered)
        except Exception as error:  # Both libraries raise their own kinds, some of them plain Exception.
            raise ModelError(
                f"model '{model.name}' cannot be opened: {error}", hint=f"metier models pull {model.name}"
            ) from error

    def has_word(self, word: str) -> bool:
        """Whether the model's vocabulary holds a word, in lower case, as a whole: then it is no typing error."""
        return len(self._tokenizer.encode(word, add_special_tokens=False).ids) == 1

    def _encode(self, texts: Sequence[str], *, passages: bool) -> list[list[int]]:
        return [item.ids for item in self._tokenizer.encode_batch(list(texts))]

    def _feeds(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return {name: feeds[name] for name in self._inputs}


@lru_cache(maxsize=4)
def _opened(name: str, home: Path) -> OnnxEmbedder | E5Embedder:
    model = ModelStore(home).find(name)
    return E5Embedder.load(model) if "e5" in model.files else OnnxEmbedder.load(model)


_opening = threading.Lock()


def load_embedder(name: str = "multilingual-e5-small", store: ModelStore | None = None) -> OnnxEmbedder | E5Embedder:
    """The embedder of that name, opened once per process.

    Raises:
        UnknownModel, ModelNotPulled, IntegrityError: see `ModelStore.find`.
        ModelError: it is not an embedder, or cannot be opened.
    """
    with _opening:
        return _opened(name, (store or ModelStore()).home)
