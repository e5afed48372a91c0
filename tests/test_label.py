"""Labels: the head that learns from examples, and the prompts that the skill learns from."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core.errors import InputError, StateError
from metier.core.onnx_embedder import OnnxEmbedder
from metier.core.text import HASH_BUCKETS
from metier.specialists.styles.label.classifier import (
    MEANING,
    PRIOR_SHARE,
    RIDGE,
    HashedTfIdf,
    LabelClassifier,
    Labelled,
    label_shares,
)

FAULTS = {
    "electrical": (
        "the motor trips its breaker",
        "a fuse blew in the cabinet",
        "sparks at the socket",
        "no voltage on line 2",
    ),
    "hydraulic": ("oil leaks from the cylinder", "the pump loses pressure", "a hose burst", "the valve drips oil"),
    "software": ("the screen shows error 404", "the program crashes", "the update failed", "a login is refused"),
}
ROWS = [Labelled(text, (label,)) for label, texts in FAULTS.items() for text in texts]


@pytest.fixture(scope="module")
def head(embedder: OnnxEmbedder) -> LabelClassifier:
    return LabelClassifier.fit(ROWS, embedder)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("oil drips from a pump", "hydraulic"),
        ("the breaker and the fuse", "electrical"),
        ("it crashes at login", "software"),
    ],
)
def test_a_head_labels_what_is_like_its_examples(
    text: str, label: str, head: LabelClassifier, embedder: OnnxEmbedder
) -> None:
    (chances,) = head.probabilities([text], embedder)
    assert max(chances, key=chances.__getitem__) == label
    assert sum(chances.values()) == pytest.approx(1)


def test_a_saved_head_says_the_same(head: LabelClassifier, embedder: OnnxEmbedder, tmp_path: Path) -> None:
    head.save(tmp_path / "head.npz")
    again = LabelClassifier.load(tmp_path / "head.npz")
    (one,), (other,) = (h.probabilities(["a valve of line 2"], embedder) for h in (head, again))
    assert one == pytest.approx(other, abs=1e-3)


def dual_form(texts: list[str], embedder: OnnxEmbedder, asked: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """How alike the texts are with each other, and what is asked with the texts, worked out here from every example."""
    words, vectors = HashedTfIdf.fit(texts), embedder.embed(texts)
    own, other = (
        (1 - MEANING) * (words.rows(some) @ words.rows(texts).T).toarray()
        + MEANING * (embedder.embed(some) @ vectors.T) ** 2
        for some in (texts, asked)
    )
    return own + RIDGE * np.identity(len(texts)), other


TEXTS = [row.text for row in ROWS]
LABELS = sorted(FAULTS)
TARGETS = np.array([[label in row.answers for label in LABELS] for row in ROWS], dtype=float)
SHARE = TARGETS.mean(axis=0)


def test_terms_folded_into_weights_say_what_the_examples_say(head: LabelClassifier, embedder: OnnxEmbedder) -> None:
    asked = "oil near the breaker of the pump"
    system, likeness = dual_form(TEXTS, embedder, [asked])
    scores = (likeness @ np.linalg.solve(system, TARGETS - SHARE))[0] + PRIOR_SHARE * SHARE
    assert head.probabilities([asked], embedder)[0] == pytest.approx(label_shares(LABELS, scores), abs=1e-4)


def test_accuracy_is_that_of_models_that_did_not_see_the_example(head: LabelClassifier, embedder: OnnxEmbedder) -> None:
    system, likeness = dual_form(TEXTS, embedder, TEXTS)
    right = []
    for number, row in enumerate(ROWS):
        others = np.arange(len(ROWS)) != number
        coefficients = np.linalg.solve(system[np.ix_(others, others)], (TARGETS - SHARE)[others])
        scores = likeness[number, others] @ coefficients + PRIOR_SHARE * SHARE
        right.append(LABELS[int(scores.argmax())] in row.answers)
    assert head.accuracy == pytest.approx(np.mean(right))
    assert head.accuracy is not None
    assert head.accuracy > 1 / len(FAULTS)


def test_a_label_of_one_example_cannot_be_known_without_it(embedder: OnnxEmbedder) -> None:
    assert LabelClassifier.fit([Labelled(row.text, (str(n),)) for n, row in enumerate(ROWS)], embedder).accuracy == 0


def test_one_label_is_nothing_to_learn(embedder: OnnxEmbedder) -> None:
    with pytest.raises(InputError, match="two labels"):
        LabelClassifier.fit(ROWS[:4], embedder)


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.npz").write_bytes(b"nothing")
    with pytest.raises(StateError, match="no label head"):
        LabelClassifier.load(tmp_path / "head.npz")


def test_a_head_of_another_form_is_refused(head: LabelClassifier, tmp_path: Path) -> None:
    head.save(tmp_path / "head.npz")
    with np.load(tmp_path / "head.npz") as found:
        arrays = dict(found)
    arrays["about"] = np.frombuffer(b'{"form": "head-1", "labels": []}', dtype=np.uint8)
    np.savez(tmp_path / "head.npz", **arrays)
    with pytest.raises(StateError, match="its form is head-1"):
        LabelClassifier.load(tmp_path / "head.npz")


def test_words_weigh_by_rarity() -> None:
    words = HashedTfIdf.fit(["the pump leaks", "the pump is hot", "the fan is hot"])
    the, fan, both = (words.rows([text]).toarray()[0] for text in ("the", "fan", "the fan"))
    assert both[fan.argmax()] > both[the.argmax()] > 0
    assert words.rows(["…"]).nnz == 0


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_phrases_and_pieces_count_the_half_each(texts: list[str]) -> None:
    rows = HashedTfIdf.fit(texts).rows(texts)
    for row in (rows[n] for n in range(len(texts))):
        lengths = [half.multiply(half).sum() for half in (row[:, :HASH_BUCKETS], row[:, HASH_BUCKETS:])]
        assert all(length == pytest.approx(0.5, abs=1e-3) or length == 0 for length in lengths)


def test_lessons_offer_each_label_once_and_no_other_that_is_right(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from metier.benchmarks.skills.label import Labelled as Text
    from metier.benchmarks.skills.label import lessons

    known = [f"label {n}" for n in range(12)]
    rows = [Text(f"g{n}", f"text {n}", (known[n % 12], known[(n + 1) % 12])) for n in range(40)]
    for example in lessons(rows, 40, random.Random(0)):
        offered = example.messages[0]["content"].split("Labels: ")[1].split("; ")
        answers = [m["content"] for m in example.messages if m["role"] == "assistant"] + [example.answer]
        assert len(set(offered)) == len(offered)
        assert set(answers) <= set(offered)
