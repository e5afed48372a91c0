"""What a follow-up takes from the thread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core.types import Turn
from metier.memory.window import recall, refers_back

THREAD = [Turn(role="user", text="How often is the filler greased?"), Turn(role="assistant", text="Every 500 h")]


@pytest.mark.parametrize(
    "task",
    [
        "And for the labeller?",
        "what about line 3?",
        "for line 3?",
        "Who supplies it?",
        "how long does that take at night?",
    ],
)
def test_tasks_that_refer_back(task):
    found = recall(task, THREAD)
    assert found.query == f"How often is the filler greased? {task}"
    assert found.window == tuple(THREAD)


@pytest.mark.parametrize(
    "task", ["How often is the chiller's filter cleaned?", "Which gloves are worn when caustic soda is decanted?"]
)
def test_tasks_that_stand_alone(task):
    assert recall(task, THREAD).window == ()
    assert recall(task, THREAD).query == task


def test_the_first_task_of_a_thread_has_nothing_to_refer_to():
    assert recall("And for the labeller?", []).window == ()


def test_an_unanswered_question_is_enough_to_refer_to():
    assert recall("and that?", THREAD[:1]).window == tuple(THREAD[:1])


@given(st.text(max_size=300))
def test_any_text_can_be_asked_about(text):
    assert isinstance(refers_back(text), bool)
    assert text in recall(text, THREAD).query
