"""Tables are cut down to the rows that a question is about; prose is not touched."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metier.specialists.grounding import TABLE_ROWS, focus

ALARMS = "\n".join(
    f"Code: F-{n}; Text: {text}; Remedy: {remedy}"
    for n, text, remedy in [
        (101, "Bottle jam", "clear the infeed"),
        (107, "Bottle burst", "flush the station"),
        (112, "Lift cylinder slow", "check the air"),
        (118, "Low level", "open the valve"),
    ]
)
PROSE = "The filler is greased weekly.\nIt stands on line 2.\nIt is washed on Fridays.\nIt has forty valves."


def test_the_row_with_the_code_is_left():
    assert focus("what do I do on F-112?", [ALARMS]) == ["Code: F-112; Text: Lift cylinder slow; Remedy: check the air"]


def test_prose_stays_whole():
    assert focus("how often is the filler greased?", [PROSE]) == [PROSE]


def test_a_follow_up_prefers_its_own_words_to_those_before():
    assert (
        "F-107"
        in focus("and a burst bottle?", [ALARMS], earlier="what about a slow lift cylinder? and a burst bottle?")[0]
    )


@given(st.text(max_size=80), st.lists(st.text(max_size=200), max_size=4))
def test_nothing_is_invented(task, texts):
    kept = focus(task, texts)
    lines = {line for text in texts for line in text.split("\n")}
    assert all(line in lines for text in kept for line in text.split("\n"))
    assert len(kept) <= len(texts)
    assert bool(kept) == bool(texts)


def test_a_table_without_a_word_of_the_task_is_only_shortened():
    assert len(focus("zebra?", [ALARMS])[0].split("\n")) <= TABLE_ROWS
