"""Labels: the head that learns from examples, and the prompts that the skill learns from."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from metier.core.errors import InputError, StateError
from metier.core.onnx_embedder import OnnxEmbedder
from metier.specialists.head import Head, Labelled, Remembered, accuracy
from metier.specialists.words import Words

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
def head(embedder: OnnxEmbedder) -> Head:
    return Head.fit(ROWS, embedder)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("oil drips from a pump", "hydraulic"),
        ("the breaker and the fuse", "electrical"),
        ("it crashes at login", "software"),
    ],
)
def test_a_head_labels_what_is_like_its_examples(text: str, label: str, head: Head, embedder: OnnxEmbedder) -> None:
    (chances,) = head.probabilities([Labelled(text, ())], embedder)
    assert max(chances, key=chances.__getitem__) == label
    assert sum(chances.values()) == pytest.approx(1)


def test_a_head_chooses_among_the_labels_offered(head: Head, embedder: OnnxEmbedder) -> None:
    (chances,) = head.probabilities([Labelled("oil drips from a pump", (), ("software", "electrical"))], embedder)
    assert set(chances) == {"software", "electrical"}


def test_a_saved_head_says_the_same(head: Head, embedder: OnnxEmbedder, tmp_path: Path) -> None:
    head.save(tmp_path / "head.npz")
    again = Head.load(tmp_path / "head.npz")
    (one,), (other,) = (h.probabilities([Labelled("a valve of line 2", ())], embedder) for h in (head, again))
    assert one == pytest.approx(other, abs=1e-3)


def test_choices_of_their_own_are_learnt_as_pairs(embedder: OnnxEmbedder) -> None:
    sensors = {"bearing wear": "vibration", "overheating": "temperature", "leakage": "pressure"}
    rows = [
        Labelled(f"which sensor shows {fault} of the {machine}", (sensor,), tuple(sensors.values()))
        for fault, sensor in sensors.items()
        for machine in ("pump", "fan", "motor")
    ]
    head = Head.fit(rows, embedder)
    asked = Labelled("which sensor shows leakage of the compressor", (), ("vibration", "pressure"))
    (chances,) = head.probabilities([asked], embedder)
    assert chances["pressure"] > chances["vibration"]


def test_accuracy_is_measured_on_groups_that_were_held_out(embedder: OnnxEmbedder) -> None:
    groups = [f"{n % 4}" for n in range(len(ROWS))]
    right = accuracy(ROWS, groups, embedder, folds=4)
    assert sum(right) > len(ROWS) / len(FAULTS)
    told = accuracy([Labelled(row.text, (str(n),)) for n, row in enumerate(ROWS)], groups, embedder, folds=4)
    assert not any(told), "a label that stands in one group only cannot be known by the others"


def test_one_label_is_nothing_to_learn(embedder: OnnxEmbedder) -> None:
    with pytest.raises(InputError, match="two labels"):
        Head.fit(ROWS[:4], embedder)


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.npz").write_bytes(b"nothing")
    with pytest.raises(StateError, match="no label head"):
        Head.load(tmp_path / "head.npz")


def test_words_weigh_by_rarity() -> None:
    words = Words.of(["the pump leaks", "the pump is hot", "the fan is hot"], least=1)
    row = words.rows(["the fan"]).toarray()[0]
    assert row[words.terms["fan"]] > row[words.terms["the"]] > 0
    assert words.rows(["unknown"]).nnz == 0


def test_an_embedder_that_remembers_gives_the_same(embedder: OnnxEmbedder) -> None:
    texts = ["one text", "another text", "one text"]
    remembered = Remembered(embedder)
    assert (remembered.embed(texts) == remembered.embed(texts)).all()
    assert remembered.embed(texts)[1] == pytest.approx(embedder.embed(texts)[1], abs=1e-5)


def test_lessons_offer_each_label_once_and_no_other_that_is_right(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from metier.specialists.training.label_data import Labelled as Text
    from metier.specialists.training.label_data import lessons

    known = [f"label {n}" for n in range(12)]
    rows = [Text(f"g{n}", f"text {n}", (known[n % 12], known[(n + 1) % 12])) for n in range(40)]
    for example in lessons(rows, 40, random.Random(0)):
        offered = example.messages[0]["content"].split("Labels: ")[1].split("; ")
        answers = [m["content"] for m in example.messages if m["role"] == "assistant"] + [example.answer]
        assert len(set(offered)) == len(offered)
        assert set(answers) <= set(offered)
