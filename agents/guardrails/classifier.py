"""A linear classifier over hashed words and character n-grams, and over the text's vector where there is an embedder.

numpy only. The n-grams cost microseconds a sentence; the vector costs what the embedder takes, nothing for a task that
the router embeds anyway. Training and use share `ngram_features`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from ...core.embedding import Embedder
from ...core.files import write_atomic
from ...core.text import hash_bucket, piece_buckets
from ...core.types import sigmoid

_READ = 4000
"""Characters of a text that are looked at."""
_SIZES = (3, 4, 5)
_DENSE = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_DENSE_SIZES = (2, 3, 4)
"""Of scripts in which two characters may be a word: Thai, Lao, Japanese, Chinese, Korean."""
_OTHER_SCRIPT = 0.3
"""Share of letters that are not Latin from which a text is in another script."""
_LATIN = re.compile(r"[A-Za-z\u00aa-\u024f\u1e00-\u1eff\uff21-\uff5a]")
_LATIN_TEXT = re.compile(r"[\x00-\u024f\u1e00-\u1eff\u2010-\u2027]+")
_FEWEST_LATIN = 20
"""Latin letters in a text of another script that are looked at for themselves."""
_TOKEN = re.compile(r"\w+|[^\w\s]")
_DIGITS = re.compile(r"\d")


def ngram_features(texts: Sequence[str]) -> list[list[int]]:
    """The buckets (0 to 32767) that each text's words, marks, pairs of these and 3- to 5-grams fall into, each once.

    Unlike the terms of a search, an attack shows in marks, in what stands first and in what numbers look like; so marks
    are tokens, the first counts once more, and all digits are the same. The shipped heads are fitted on just this.
    """
    features = []
    for text in texts:
        tokens = _TOKEN.findall(_DIGITS.sub("0", text[:_READ].lower()))
        buckets = {hash_bucket(f"^{tokens[0]}" if tokens else "^")}
        buckets.update(hash_bucket(f"p{first} {second}") for first, second in pairwise([*tokens, "$"]))
        for token in set(tokens):
            buckets.add(hash_bucket(f"w{token}"))
            buckets.update(piece_buckets(token, _DENSE_SIZES if _DENSE.match(token) else _SIZES))
        features.append(sorted(buckets))
    return features


def in_other_script(text: str) -> bool:
    """Is much of a text not in Latin letters? An English embedder knows no word of it.

    >>> in_other_script("Où est la clé ?"), in_other_script("Где ключ?"), in_other_script("12.5 %")
    (False, True, False)
    """
    if text.isascii():
        return False
    letters = [c for c in text[:_READ] if c.isalpha()]
    return sum(not _LATIN.match(c) for c in letters) > _OTHER_SCRIPT * len(letters)


@dataclass(frozen=True)
class Linear:
    """Weights (32768,) of the buckets, a bias, and weights (dimension,) of the text's vector; none without embedder."""

    weights: NDArray[np.float32]
    bias: float
    vector: NDArray[np.float32]

    def logit(self, buckets: list[int], vector: NDArray[np.float32] | None = None) -> float:
        """Above 0: more likely than not, as far as the threshold was set so."""
        meaning = float(self.vector @ vector) if vector is not None else 0.0
        return self.bias + float(self.weights[buckets].sum()) / math.sqrt(len(buckets) or 1) + meaning


@dataclass(frozen=True)
class NgramClassifier:
    """Three classifiers: `words` for the n-grams alone, `both` for n-grams and vector, `foreign` for other scripts.

    Where there is an embedder of the name that `both` was fitted with, it decides, on what `words` finds suspicious
    (a logit of `suspicion` or more; −inf: on everything). Elsewhere `words` decides alone, and finds less. A text that
    is not in Latin letters is judged by `foreign`, whose n-grams are of such languages: the vectors of an English
    embedder are noise there. What is Latin in it is judged for itself.
    """

    words: Linear
    both: Linear
    embedder: str
    suspicion: float = -math.inf
    foreign: Linear | None = None

    def score(self, text: str, embedder: Embedder | None = None) -> float:
        """Probability of the positive class, 0 to 1."""
        return self.scores([text], embedder)[0]

    def scores(self, texts: Sequence[str], embedder: Embedder | None = None) -> list[float]:
        """The `score` of each text."""
        usual = [text if not in_other_script(text) else _latin_part(text) for text in texts]
        found = self._usual_scores(usual, embedder)
        for place, text in enumerate(texts):
            if text != usual[place] or in_other_script(text):
                other = self.foreign.logit(ngram_features([text])[0]) if self.foreign else -math.inf
                found[place] = max(sigmoid(other), found[place] if usual[place] else 0.0)
        return found

    def _usual_scores(self, texts: Sequence[str], embedder: Embedder | None) -> list[float]:
        features = ngram_features(texts)
        logits = [self.words.logit(buckets) for buckets in features]
        if embedder is None or embedder.name != self.embedder:
            return [sigmoid(logit) for logit in logits]
        return [
            sigmoid(self.both.logit(buckets, embedder.embed([text])[0])) if text and logit >= self.suspicion else 0.0
            for text, buckets, logit in zip(texts, features, logits, strict=True)
        ]

    @classmethod
    def load(cls, path: Path) -> NgramClassifier:
        """Read what `save` wrote."""
        with safe_open(path, framework="numpy") as file:
            stored = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
            embedder = file.metadata()["embedder"]
        bias = stored["bias"]
        words = Linear(stored["words"], float(bias[0]), np.zeros(0, np.float32))
        both = Linear(stored["both"], float(bias[1]), stored["vector"])
        foreign = Linear(stored["foreign"], float(bias[3]), np.zeros(0, np.float32)) if "foreign" in stored else None
        return cls(words, both, embedder, float(bias[2]), foreign)

    def save(self, path: Path) -> None:
        """Write as safetensors, weights in half precision."""
        foreign = {"foreign": self.foreign.weights.astype(np.float16)} if self.foreign else {}
        more = [self.foreign.bias] if self.foreign else []
        tensors = {
            "words": self.words.weights.astype(np.float16),
            "both": self.both.weights.astype(np.float16),
            "vector": self.both.vector.astype(np.float16),
            "bias": np.array([self.words.bias, self.both.bias, self.suspicion, *more], np.float32),
            **foreign,
        }
        write_atomic(path, save(tensors, metadata={"embedder": self.embedder}))


def _latin_part(text: str) -> str:
    """The longest run of Latin letters in a text of another script; empty where it is only a name or two."""
    longest = max(_LATIN_TEXT.findall(text[:_READ]), key=len, default="").strip()
    return longest if len(_LATIN.findall(longest)) >= _FEWEST_LATIN else ""
