"""What the tests of engines share."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from langchain_core.messages import AIMessageChunk

from metier.core.errors import MissingExtra
from metier.specialists.engines import open_engine

LOCAL = ("llama", "openvino")
"""The engines that run the base from its GGUF with LoRA in GGUF form, and that keep the whole contract."""

FRANCE = [("user", "What is the capital of France?")]


def random_lora(path: Path, seed: int, rank: int = 4, layers: int = 30, width: int = 576) -> Path:
    """A LoRA on SmolLM2's attention outputs: random, the same each time, strong enough to change what it says."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    for layer in range(layers):
        for half, shape in {"a": (rank, width), "b": (width, rank)}.items():
            values = random.normal(0, 0.5, shape).astype(np.float32)
            writer.add_tensor(f"blk.{layer}.attn_output.weight.lora_{half}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def joined(chunks: Iterable[Any]) -> AIMessageChunk:
    """A stream's chunks as one message."""
    return functools.reduce(operator.add, chunks)


def local_engine(name: str, base: Path, loras: Mapping[str, Path] | None = None, **options: Any) -> Any:
    """One of `LOCAL` on one thread: on a machine that is busy with other tests, two would wait for each other.

    Without its extra the test is skipped.
    """
    try:
        return open_engine(name, base, loras, threads=1, **options)
    except MissingExtra as error:
        pytest.skip(f"NOT TESTED: {error}")
