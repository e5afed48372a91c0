"""What a follow-up takes from the thread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core.text import refers_back
from metier.core.types import Turn
from metier.memory.window import SUMMARY_TURNS, SUMMARY_WORDS, key_sentences, recall, roll

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


def exchange(question: str, answer: str) -> list[Turn]:
    return [Turn(role="user", text=question), Turn(role="assistant", text=answer, touched=("untrusted",))]


LONG = [
    *exchange("How long is a password valid?", "A password is valid for 90 days."),
    *exchange("Which network do guests use?", "Guests use Blue."),
    *exchange("Who empties the bins on floor 3?", "The night shift."),
]


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        ("And on floor 4?", "Who empties the bins on floor 3?"),
        ("what about a password?", "Who empties the bins on floor 3?"),
        ("You said earlier how long a password is valid; does that hold for administrators?", "How long is a password"),
        ("Can their phones join the guests' network as well?", "Which network do guests use?"),
        ("Do they also do this on Sundays?", "Who empties the bins on floor 3?"),
        ("I asked about guests before; what do I tell them?", "Which network do guests use?"),
    ],
)
def test_a_task_may_refer_to_an_earlier_exchange(task: str, asked: str) -> None:
    found = recall(task, LONG)
    assert found.query.startswith(asked)
    assert found.window[0].text.startswith(asked)
    assert found.window[1].touched == ("untrusted",)


def test_a_long_answer_is_cut_to_what_the_question_was_about() -> None:
    filler = "The weather was fine and nobody had anything else to report on that day. " * 40
    turns = exchange("When is the pump greased?", f"{filler}The pump is greased every Monday. {filler}")
    window = recall("and who does that?", turns, tokens=40).window
    assert "The pump is greased every Monday." in window[1].text
    assert sum(len(t.text.split()) for t in window) <= 40


WORDS = st.text(alphabet="abcdefghij .!?\n", max_size=400)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=80), WORDS, st.integers(20, 200))
def test_the_summary_quotes_and_stays_small(said: list[tuple[str, str]], task: str, tokens: int) -> None:
    summary: list[Turn] = []
    for question, answer in said:
        summary = roll(summary, exchange(question, answer))
    assert len(summary) <= 2 * SUMMARY_TURNS
    assert all(len(turn.text.split()) <= SUMMARY_WORDS for turn in summary)
    told = " ".join(" ".join(pair) for pair in said).split()
    assert all(word in told for turn in summary for word in turn.text.split())
    window = recall(f"and {task}", summary, tokens=tokens).window
    assert sum(len(turn.text.split()) for turn in window[1:]) <= tokens


def test_without_words_in_common_the_first_sentence_is_the_key() -> None:
    assert key_sentences("Yes. Ask Anna.", "Is it open?", 3) == "Yes. Ask Anna."
    assert key_sentences("Yes. Ask Anna about it tomorrow.", "Is it open?", 3) == "Yes."
