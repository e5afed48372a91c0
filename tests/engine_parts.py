"""What the tests of engines share."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from langchain_core.messages import AIMessageChunk

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
