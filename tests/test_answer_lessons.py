"""Lessons of our own for the style `answer`: each says what its document says, and shows it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from metier.benchmarks.skills.own_lessons import Lesson, faults, items, read_lessons
from metier.core.types import Passage
from metier.specialists.knowledge.citation import cite
from metier.specialists.prompt import NOT_FOUND

BOATS = """# Boats

| boat | seats | price |
|---|---|---|
| Otter | 2 | 18 |
| Heron | 3 | 25 |

## Handing in

1. Rinse the boat.
2. Hang up the paddles.
3. Lock the shed.
"""


def lesson(**question: object) -> Lesson:
    return Lesson({"document": BOATS, "qa": {"any": [{"q": "How do I hand in a boat?", **question}]}}, "boats")


def test_every_lesson_stands_in_its_document() -> None:
    assert [f"{one.place}: {fault}" for one in read_lessons() for fault in faults(one)] == []


def test_every_answer_stands_in_the_passages_that_are_shown() -> None:
    for item in (item for one in read_lessons()[::6] for item in one.sheets(1, random.Random(7))):
        shown = [Passage(id="", text=text, source="") for text in item.passages]
        lines = [line for line in item.answer.split("\n") if line not in ("Yes.", "No.", NOT_FOUND)]
        assert all(cite(line, shown) for line in lines), item


def test_a_gap_stands_for_the_steps_between() -> None:
    (item,) = lesson(a="1. Rinse … the shed.").sheets(1, random.Random(0))
    assert item.answer == "1. Rinse the boat.\n2. Hang up the paddles.\n3. Lock the shed."
    assert any("Handing in\n1. Rinse the boat." in text for text in item.passages)


def test_yes_and_no_are_said_first() -> None:
    assert lesson(no="Lock the shed.").questions[0].answer == "No.\nLock the shed."
    assert lesson(none="price").questions[0].answer == NOT_FOUND


@pytest.mark.parametrize(
    ("question", "fault"),
    [
        ({"a": "Rinse the shed."}, "stands in no passage"),
        ({"none": "paddles"}, "the document has paddles"),
        ({"none": "anchor"}, "does not ask for anchor"),
        ({"a": "\n".join(["Lock the shed."] * 7)}, "more than 6 lines"),
    ],
)
def test_a_wrong_lesson_is_named(question: dict[str, object], fault: str) -> None:
    assert fault in " ".join(faults(lesson(**question)))


def test_a_folder_without_lessons_has_no_items(tmp_path: Path) -> None:
    assert list(items(random.Random(0), 1, tmp_path)) == []
