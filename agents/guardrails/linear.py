"""A linear classifier over hashed words and character n-grams: 64 KB, numpy only, microseconds per text.

Training and use share `features`, so that they cannot drift apart. Feature hashing: Weinberger et al., 2009.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from ...core.files import write_atomic

BUCKETS = 1 << 15
MAX_CHARACTERS = 4000
"""Longer texts are read in windows by the caller."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_DIGITS = re.compile(r"\d")


def features(text: str) -> list[int]:
    """The buckets (0 to 32767) that a text's words, word pairs and 3- to 5-grams fall into, each once."""
    tokens = _TOKEN.findall(_DIGITS.sub("0", text[:MAX_CHARACTERS].lower()))
    return list({zlib.crc32(gram.encode()) % BUCKETS for gram in _grams(tokens)})


def _grams(tokens: list[str]) -> Iterator[str]:
    yield f"^{tokens[0]}" if tokens else "^"
    for first, second in zip_longest(tokens, tokens[1:], fillvalue="$"):
        yield f"w{first}"
        yield f"p{first} {second}"
    for word in set(tokens):
        padded = f" {word} "
        for size in (3, 4, 5):
            for start in range(len(padded) - size + 1):
                yield padded[start : start + size]


@dataclass(frozen=True)
class LinearText:
    """Weights (32768,), float32, and a bias."""

    weights: NDArray[np.float32]
    bias: float

    def score(self, text: str) -> float:
        """Probability of the positive class, 0 to 1."""
        found = features(text)
        logit = self.bias + float(self.weights[found].sum()) / math.sqrt(len(found) or 1)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))

    @classmethod
    def load(cls, path: Path) -> LinearText:
        """Read what `save` wrote."""
        stored = load_file(path)
        return cls(stored["weights"].astype(np.float32), float(stored["bias"][0]))

    def save(self, path: Path) -> None:
        """Write as safetensors, weights in half precision."""
        tensors = {"weights": self.weights.astype(np.float16), "bias": np.array([self.bias], np.float32)}
        write_atomic(path, save(tensors))
