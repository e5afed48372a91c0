"""Finds names, places, firms and addresses by how they are written and what stands around them: a linear tagger.

One vote per token over hashed features of the token and its neighbours; equal neighbours make a span. It is small (some
200 KB) and quick, and far weaker than a large tagger: use it to redact, not to prove that nothing is there.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from ...core.files import write_atomic
from .recognise import Span

HEAD = Path(__file__).parent / "heads" / "names.safetensors"
KINDS = ("", "PERSON", "GPE", "ORGANIZATION", "STREET_ADDRESS", "NRP", "ZIP_CODE")
"""What a token may be; the first means: nothing."""
BUCKETS = 1 << 14
REACH = 3
"""Neighbours on each side that are looked at."""

_TOKEN = re.compile(r"\w+(?:['’.-]\w+)*|[^\w\s]|\n")


def tokens_of(text: str) -> list[tuple[int, int, str]]:
    """Start, end and text of each word, mark and line end."""
    return [(m.start(), m.end(), m[0]) for m in _TOKEN.finditer(text)]


def token_features(words: Sequence[str]) -> Iterator[list[int]]:
    """For each token the buckets of what is said of it and of its neighbours."""
    shapes = [_shape(w) for w in words]
    low = [w.lower() for w in words]
    for place in range(len(words)):
        yield [zlib.crc32(f.encode()) % BUCKETS for f in _describe(place, words, low, shapes)]


def history(kinds: Sequence[int], described: Sequence[int]) -> list[int]:
    """Features of what the tokens before were taken for, alone and together with the token's shape and word."""
    last, earlier = (kinds[-1] if kinds else -1), (kinds[-2] if len(kinds) > 1 else -1)
    base = 31 * (last + 2) + 997 * (earlier + 2)
    return [base % BUCKETS, *((d * 7 + 13 * (last + 2)) % BUCKETS for d in described[:2])]


def _describe(place: int, words: Sequence[str], low: Sequence[str], shapes: Sequence[str]) -> Iterator[str]:
    word = low[place]
    yield f"s={shapes[place]}"
    yield f"w={word}"
    yield "bias"
    for size in (2, 3, 4):
        yield f"p{size}={word[:size]}"
        yield f"e{size}={word[-size:]}"
    for step in range(-REACH, REACH + 1):
        near = place + step
        inside = 0 <= near < len(words)
        if step:
            yield f"{step}w={low[near] if inside else '-'}"
            yield f"{step}s={shapes[near] if inside else '-'}"
    before, after = (shapes[place - 1] if place else "-"), (shapes[place + 1] if place + 1 < len(words) else "-")
    yield f"around={before}{shapes[place]}{after}"
    yield f"line={'-'.join(shapes[max(0, place - 2) : place + 3])}"
    yield f"before={low[place - 1] if place else '-'}|{shapes[place]}"
    yield f"after={low[place + 1] if place + 1 < len(words) else '-'}|{shapes[place]}"


def _shape(word: str) -> str:
    """`Xx` for a name, `x` for a word, `d5` for a number of five digits, the mark itself for a mark."""
    if word.isdigit():
        return f"d{min(len(word), 6)}"
    if not word[0].isalnum():
        return word
    if any(c.isdigit() for c in word):
        return "xd"
    if word.isupper():
        return "X" if len(word) == 1 else "XX"
    return "Xx" if word[0].isupper() else "x"


@dataclass(frozen=True)
class Tagger:
    """Weights (16384, kinds), float32."""

    weights: NDArray[np.float32]

    def spans(self, text: str) -> list[Span]:
        """The spans that the tagger sees."""
        tokens = tokens_of(text)
        kinds: list[int] = []
        for described in token_features([w for _, _, w in tokens]):
            kinds.append(int(self.weights[described + history(kinds, described)].sum(axis=0).argmax()))
        found: list[Span] = []
        for (start, end, word), kind in zip(tokens, kinds, strict=True):
            if not kind or word == "\n":
                continue
            name = KINDS[kind]
            if found and found[-1].kind == name and not re.search(r"[^\s]", text[found[-1].end : start]):
                found[-1] = found[-1]._replace(end=end)
            else:
                found.append(Span(start, end, name))
        return [s for s in found if any(c.isalnum() for c in text[s.start : s.end])]

    @classmethod
    def load(cls, path: Path) -> Tagger:
        """Read what `save` wrote."""
        return cls(load_file(path)["weights"].astype(np.float32))

    def save(self, path: Path) -> None:
        """Write as safetensors in half precision."""
        write_atomic(path, save({"weights": self.weights.astype(np.float16)}))


@lru_cache(maxsize=1)
def shipped() -> Tagger:
    """The tagger that comes with metier."""
    return Tagger.load(HEAD)
