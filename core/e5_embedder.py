"""multilingual-e5-small (Wang et al., 2024, arXiv:2402.05672) on OpenVINO, from its published 4-bit weights.

Two things differ from the published model. Activations are rounded to 8 bits for each token, which costs nothing one
could measure and is quicker by half. And the vectors lose most of what all of them have in common (Mu and Viswanath,
2018, arXiv:1702.01417): E5's cosines lie between 0.7 and 0.9 whatever the texts, afterwards around 0.1 for texts that
have nothing to do with each other, so that numbers mean the same as with other embedders.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .batched_embedder import REMEMBERED, BatchedEmbedder, batches, compiled
from .embedding import Vectors
from .errors import ModelError
from .models import LocalModel
from .models.e5 import BLOCK, E5File, four_bits, scales
from .openvino_library import openvino, opset
from .run import timing

MEANS_FILE = Path(__file__).with_name("e5_means.npy")
"""The mean vectors of questions and of passages, (2, 384); made by `benchmarks/skills/embedder_means.py`."""
REMOVED = 0.9
"""Share of the mean that vectors lose."""
_QUERY, _PASSAGE = "query: ", "passage: "
"""What the model was trained to see before a text; the first also before texts that are compared with their like."""
_FAR = np.float32(-1e9)
_BEFORE = 3
"""Tokens before a text's own: the one that begins it, and two of the prefix."""
_TOGETHER = 4
"""Texts that are compared word by word in one run; more of them lose the processor's caches."""


class E5Embedder(BatchedEmbedder):
    """Text in a hundred languages to unit vectors.

    Args:
        means: As in `MEANS_FILE`, in the model's own scale.
    """

    def __init__(self, file: E5File, means: NDArray[np.float32], name: str, remembered: int = REMEMBERED) -> None:
        self._vocabulary = Vocabulary(file)
        self._longest = file.sizes.positions
        self._words = file.blocks("emb.word").reshape(file.sizes.words, -1, 2 + BLOCK // 2)
        self._means = means
        super().__init__(compiled(_graph(file), DYNAMIC_QUANTIZATION_GROUP_SIZE=BLOCK), name, remembered)

    @classmethod
    def load(cls, model: LocalModel, *, remembered: int = REMEMBERED) -> E5Embedder:
        """Open the `e5` file of a model; `remembered` is how many single texts are kept.

        Raises:
            ModelError: the file cannot be read.
        """
        means = np.load(MEANS_FILE)
        version = sha256(REMOVED * means).hexdigest()[:4]
        try:
            return cls(
                E5File(model.files["e5"]), means, f"{model.name}-{model.sha256('e5')[:12]}-{version}", remembered
            )
        except (ModelError, OSError, RuntimeError, ValueError, KeyError) as error:
            raise ModelError(
                f"model '{model.name}' cannot be opened: {error}", hint=f"metier models pull {model.name}"
            ) from error

    def has_word(self, word: str) -> bool:
        """Whether the model's vocabulary holds a word as a whole: then it is no typing error."""
        return len(self._vocabulary.ids(word)) == 1

    def compare(self, question: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """How near the words of a question come to those of each passage, (number of passages,), at most 1: for each of
        its tokens the highest cosine with one of the passage, and of these the mean (late interaction: Khattab and
        Zaharia, 2020, arXiv:2004.12832).
        """
        (asked,) = self._tokens([question], passages=False)
        with timing("rerank"):
            found = [(asked @ text.T).max(axis=1, initial=-1.0) for text in self._tokens(passages, passages=True)]
        return np.array([best.mean() if len(best) else 0.0 for best in found], dtype=np.float32)

    def _tokens(self, texts: Sequence[str], *, passages: bool) -> list[Vectors]:
        """Of each text one unit vector for each of its own tokens."""
        encoded = self._encode(texts, passages=passages)
        vectors: list[Vectors] = [np.zeros((0, self.dimension), np.float32)] * len(texts)
        for rows in batches(encoded, _TOGETHER):
            hidden, _ = self._read([encoded[i] for i in rows])
            for row, text in zip(rows, hidden, strict=True):
                own = text[_BEFORE : len(encoded[row]) - 1]
                vectors[row] = own / np.linalg.norm(own, axis=1, keepdims=True)
        return vectors

    def _encode(self, texts: Sequence[str], *, passages: bool) -> list[list[int]]:
        prefix = _PASSAGE if passages else _QUERY
        begin, end, room = self._vocabulary.begin, self._vocabulary.end, self._longest - 2
        return [[begin, *self._vocabulary.ids(prefix + text)[:room], end] for text in texts]

    def _feeds(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        blocks = self._words[ids]  # Looked up here, from the file: as a table of floats they would fill 384 MB.
        vectors = (four_bits(blocks).astype(np.float32) - 8) * scales(blocks).astype(np.float32)
        return {"words": vectors.reshape(*ids.shape, -1), "mask": mask.astype(np.float32)}

    def _finish(self, means: NDArray[np.float32], *, passages: bool) -> Vectors:
        unit = super()._finish(means, passages=passages)
        return super()._finish(unit - REMOVED * self._means[int(passages)], passages=passages)


class Vocabulary:
    """Text to token ids: of all ways to cut a word into known pieces the most probable one (Kudo, 2018, Unigram).

    The library's own takes seconds to open a vocabulary of 250,000 pieces; words come again, so this is as quick.
    """

    _HIDDEN: ClassVar = {code: None for code in (*range(1, 9), 11, *range(14, 32), 127, 143, 159)}
    _BLANKS = dict.fromkeys((*range(0x200B, 0x2010), 0x2581, 0xFEFF, 0xFFFD), " ")

    def __init__(self, file: E5File) -> None:
        self.begin, self.end, self._unknown = file.begin, file.end, file.unknown
        self._ids = {piece: id for id, piece in enumerate(file.pieces)}
        self._scores = file.scores
        self._longest = max(map(len, file.pieces))
        self._never = min(file.scores) - 10
        self._cut = lru_cache(maxsize=100_000)(self._cut_word)

    def ids(self, text: str) -> list[int]:
        """The tokens of a text."""
        plain = unicodedata.normalize("NFKC", text.translate(self._HIDDEN | self._BLANKS))
        return [id for word in plain.split() for id in self._cut(f"\u2581{word}")]

    def _cut_word(self, word: str) -> tuple[int, ...]:
        best = [0.0] + [-math.inf] * len(word)
        last = [(0, self._unknown)] * (len(word) + 1)  # Where the piece that ends here begins, and its id.
        for start in range(len(word)):
            for end in range(start + 1, min(len(word), start + self._longest) + 1):
                id = self._ids.get(word[start:end], self._unknown)
                if id == self._unknown and end > start + 1:
                    continue
                score = best[start] + (self._never if id == self._unknown else self._scores[id])
                if score > best[end]:
                    best[end], last[end] = score, (start, id)
        found, end = list[int](), len(word)
        while end:
            end, id = last[end]
            found.append(id)
        return tuple(reversed(found))


def _graph(file: E5File) -> openvino.Model:
    """The encoder: word embeddings (batch, tokens, hidden) and mask (batch, tokens) to one vector a token."""
    sizes = file.sizes
    width = sizes.hidden // sizes.heads
    words = opset.parameter(openvino.PartialShape([-1, -1, sizes.hidden]), openvino.Type.f32, name="words")
    mask = opset.parameter(openvino.PartialShape([-1, -1]), openvino.Type.f32, name="mask")
    hidden = _normed(file, opset.add(words, _positions(file, words)), "emb.ln")
    far = opset.unsqueeze(opset.multiply(opset.subtract(np.float32(1), mask), _FAR), np.array([1, 2]))

    def heads(layer: str) -> openvino.Node:
        split = opset.reshape(_linear(file, hidden, layer), np.array([0, 0, sizes.heads, width]), special_zero=True)
        return opset.transpose(split, np.array([0, 2, 1, 3]))

    for number in range(sizes.layers):
        name = f"l{number}."
        seen = opset.scaled_dot_product_attention(heads(f"{name}q"), heads(f"{name}k"), heads(f"{name}v"), far)
        seen = opset.transpose(seen, np.array([0, 2, 1, 3]))
        seen = opset.reshape(seen, np.array([0, 0, sizes.hidden]), special_zero=True)
        hidden = _normed(file, opset.add(hidden, _linear(file, seen, f"{name}ao")), f"{name}aln")
        inner = opset.gelu(_linear(file, hidden, f"{name}fi"), "erf")
        hidden = _normed(file, opset.add(hidden, _linear(file, inner, f"{name}fo")), f"{name}oln")
    return openvino.Model([hidden], [words, mask], "e5")  # type: ignore[misc]  # its stubs name two classes


def _positions(file: E5File, words: openvino.Node) -> openvino.Node:
    """What each place in a text adds; all texts are of the first of the two types."""
    hidden = file.sizes.hidden
    table = file.vector("emb.pos").reshape(-1, hidden) + file.vector("emb.type")[:hidden]
    length = opset.gather(opset.shape_of(words), np.array([1]), np.array(0))
    return opset.slice(opset.constant(table), np.array([0]), length, np.array([1]), np.array([0]))


def _normed(file: E5File, node: openvino.Node, name: str) -> openvino.Node:
    plain = opset.mvn(node, np.array([-1]), True, file.sizes.epsilon, "INSIDE_SQRT")
    scaled = opset.multiply(plain, opset.constant(file.vector(f"{name}.w")))
    return opset.add(scaled, opset.constant(file.vector(f"{name}.b")))


def _linear(file: E5File, node: openvino.Node, name: str) -> openvino.Node:
    """A matrix product with the 4-bit weights, which stay so in memory, and its bias."""
    bias = file.vector(f"{name}.b")
    blocks = file.blocks(f"{name}.w").reshape(len(bias), -1, 2 + BLOCK // 2)  # (out, blocks, 18)
    shape = openvino.Shape([*blocks.shape[:2], BLOCK])
    four = four_bits(blocks)
    packed = openvino.Tensor((four[..., 0::2] | four[..., 1::2] << 4).reshape(-1), shape, openvino.Type.u4)
    middle = openvino.Tensor(np.array([8], dtype=np.uint8), openvino.Shape([1, 1, 1]), openvino.Type.u4)
    half = openvino.Type.f16
    centred = opset.subtract(
        opset.convert(opset.constant(packed, shared_memory=False), half),
        opset.convert(opset.constant(middle, shared_memory=False), half),
    )
    weights = opset.multiply(centred, opset.constant(scales(blocks)))
    flat = opset.reshape(weights, np.array([len(bias), -1]), special_zero=False)
    product = opset.matmul(node, opset.convert(flat, openvino.Type.f32), transpose_a=False, transpose_b=True)
    return opset.add(product, opset.constant(bias))
