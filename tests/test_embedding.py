"""The real embedder: meaning, form, and that nobody's vector depends on who else is there."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.core.embedding import Embedder
from metier.core.errors import ModelError, ModelNotPulled
from metier.core.models import LocalModel, ModelStore
from metier.core.onnx_embedder import OnnxEmbedder, load_embedder

TEXTS = [
    "How often is the filler's carousel bearing greased?",
    "What is the greasing interval of the carousel bearing?",
    "Who won the football match yesterday?",
    "grease",
    "",
    "The seal must be replaced after two thousand hours of operation. " * 40,
]


def test_it_is_what_others_expect(embedder: OnnxEmbedder, models: ModelStore) -> None:
    assert isinstance(embedder, Embedder)
    assert embedder.dimension == 384
    assert embedder.name == f"minilm-{models.find('minilm').sha256('onnx')[:12]}"
    assert load_embedder("minilm", models) is embedder


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        (TEXTS[0], TEXTS[1], TEXTS[2]),
        ("The cat sits outside", "A cat is sitting in the garden", "The new film is great"),
        (
            "What is the notice period for termination?",
            "Either party may terminate with 30 days' notice.",
            "Bake at 200 °C.",
        ),
        ("My card was declined", "The payment with my credit card did not go through", "How do I reset the valve?"),
    ],
)
def test_alike_is_near(embedder: OnnxEmbedder, text: str, near: str, far: str) -> None:
    vectors = embedder.embed([text, near, far])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.25


def test_published_similarities(embedder: OnnxEmbedder) -> None:
    """The example on the model's own page at sbert.net: cosines 0.6660, 0.1046 and 0.1411 in float32."""
    first, second, third = embedder.embed(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    assert [first @ second, first @ third, second @ third] == pytest.approx([0.6660, 0.1046, 0.1411], abs=0.01)


def test_form(embedder: OnnxEmbedder) -> None:
    vectors = embedder.embed(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 384), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert embedder.embed([]).shape == (0, 384)


@settings(max_examples=25)
@given(st.lists(st.text(max_size=40), max_size=12))
def test_alone_or_among_others_the_vector_is_the_same(models: ModelStore, texts: list[str]) -> None:
    embedder = load_embedder("minilm", models)
    together = embedder.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        assert embedder.embed([text])[0] == pytest.approx(vector, abs=1e-5)


def test_only_the_first_256_tokens_count(embedder: OnnxEmbedder) -> None:
    long = "pump " * 254
    assert np.array_equal(embedder.embed([long]), embedder.embed([long + "and much more " * 50]))


def test_what_is_remembered_cannot_be_spoilt(models: ModelStore) -> None:
    embedder = OnnxEmbedder.load(models.find("minilm"), remembered=3)
    first = embedder.embed(["grease"])
    expected = first.copy()
    first[:] = 0
    embedder.embed(["grease"])[:] = 0
    assert np.array_equal(embedder.embed(["grease"]), expected)
    for number in range(4):
        embedder.embed([str(number)])
    assert np.array_equal(embedder.embed(["grease"]), expected), "computed anew after it was forgotten"


def test_threads_do_not_disturb_each_other(embedder: OnnxEmbedder) -> None:
    expected = embedder.embed(TEXTS[:5])
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: embedder.embed(TEXTS[:5]), range(8)))
    assert all(np.array_equal(result, expected) for result in results)


def not_an_onnx_file(models: ModelStore, folder: Path) -> LocalModel:
    (folder / "x.onnx").write_bytes(b"no")
    files = {**models.find("minilm").files, "onnx": folder / "x.onnx"}
    return LocalModel("broken", "embedder", "MIT", files)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda models, folder: models.find("smollm2-135m"), "is a base, not an embedder"),
        (not_an_onnx_file, "cannot be opened"),
    ],
)
def test_what_cannot_embed_is_refused(
    models: ModelStore, tmp_path: Path, make: Callable[[ModelStore, Path], LocalModel], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        OnnxEmbedder.load(make(models, tmp_path))


def test_a_model_that_is_not_here(tmp_path: Path) -> None:
    with pytest.raises(ModelNotPulled):
        load_embedder("minilm", ModelStore(tmp_path))
