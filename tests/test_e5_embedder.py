"""multilingual-e5-small: its file, its tokens, meaning across languages, questions and passages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metier.core.e5_embedder import E5Embedder, Vocabulary
from metier.core.embedding import Embedder, KnowsWords, TwoSided, embed_passages
from metier.core.errors import ModelError
from metier.core.models import LocalModel, ModelStore
from metier.core.models.e5 import E5File
from metier.core.onnx_embedder import OnnxEmbedder, load_embedder

NAME = "multilingual-e5-small"


@pytest.fixture(scope="module")
def file(models: ModelStore) -> E5File:
    return E5File(models.find(NAME).files["e5"])


@pytest.fixture(scope="module")
def e5(models: ModelStore) -> E5Embedder:
    embedder = load_embedder(NAME, models)
    assert isinstance(embedder, E5Embedder)
    return embedder


def test_it_is_what_others_expect(e5: E5Embedder, models: ModelStore) -> None:
    assert isinstance(e5, Embedder)
    assert isinstance(e5, TwoSided)
    assert isinstance(e5, KnowsWords)
    assert e5.dimension == 384
    assert e5.name.startswith(f"{NAME}-{models.find(NAME).sha256('e5')[:12]}-")
    vectors = e5.embed_passages(["A valve.", "", "Ein Ventil. " * 400])
    assert (vectors.shape, vectors.dtype) == ((3, 384), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert e5.embed([]).shape == e5.embed_passages([]).shape == (0, 384)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [  # What Hugging Face's `tokenizers` gives with the model's own vocabulary, without the signs at both ends.
        ("How much  wood?", [11249, 5045, 109412, 32]),
        ("日本語のテスト 三号泵", [6, 98449, 154, 120256, 66725, 5730, 180466]),
        ("party 🎉🎉", [19085, 6, 243816, 243816]),
        ("zero\u200bwidth\tand\x01control", [45234, 6, 146984, 136, 81988]),
        ("", []),
    ],
)
def test_tokens(file: E5File, text: str, tokens: list[int]) -> None:
    assert Vocabulary(file).ids(text) == tokens


def test_a_matrix_has_the_published_shape(file: E5File) -> None:
    assert file.sizes[:6] == (384, 12, 12, 1536, 250037, 512)
    assert file.blocks("l11.fo.w").shape == (384 * 1536 // 32, 18)
    assert file.vector("emb.ln.w").mean() == pytest.approx(0.8, abs=0.4)


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ("Wie viele Tage Urlaub habe ich?", "Staff get 28 days of annual leave.", "The rent is due on the first."),
        ("How often do I grease the bearing?", "Lubricate the roller bearing every 500 h.", "Close the door slowly."),
        ("¿Quién paga el envío?", "The buyer bears the cost of shipping.", "The seller was founded in 1996."),
    ],
)
def test_a_question_finds_its_passage_in_another_language(
    e5: E5Embedder, question: str, right: str, wrong: str
) -> None:
    near, far = e5.embed_passages([right, wrong]) @ e5.embed([question])[0]
    assert near > far + 0.1


def test_texts_that_have_nothing_to_do_with_each_other_are_far_apart(e5: E5Embedder) -> None:
    """Plain E5 gives 0.75 and more for any two texts; numbers should mean what they mean with other embedders."""
    texts = ["Bake at 200 °C for an hour.", "My card was declined", "Who won the match?", "Grease the bearing weekly."]
    cosines = e5.embed(texts) @ e5.embed(texts).T
    assert np.abs(cosines[~np.eye(4, dtype=bool)]).max() < 0.45


def test_alone_or_among_others_the_vector_is_nearly_the_same(e5: E5Embedder) -> None:
    texts = ["grease", "How is the bearing greased?", "The seal is replaced after two thousand hours. " * 20]
    together = e5.embed_passages(texts)
    for text, vector in zip(texts, together, strict=True):
        assert e5.embed_passages([text])[0] @ vector > 0.999
    assert np.array_equal(e5.embed_passages(texts), together)


def test_questions_and_passages_are_two_kinds_of_text_to_one_embedder_only(
    e5: E5Embedder, embedder: OnnxEmbedder
) -> None:
    text = ["The bearing is greased weekly.", "Close the door."]
    assert not np.allclose(embed_passages(e5, text), e5.embed(text), atol=0.01)
    assert np.array_equal(embed_passages(embedder, text), embedder.embed(text))


@pytest.mark.parametrize(("word", "known"), [("vacation", True), ("recieptt", False)])
def test_it_knows_words(e5: E5Embedder, word: str, known: bool) -> None:
    assert e5.has_word(word) is known


@pytest.mark.parametrize("content", [b"", b"E5S1", b"E5S1\2\0\0\0" + b"\0" * 200, b"GGUF" + b"\0" * 200])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.e5"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="model 'x' cannot be opened"):
        E5Embedder.load(LocalModel("x", "embedder", "MIT", {"e5": path}))
