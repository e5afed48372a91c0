"""A citation is a promise: the quote stands there, at these offsets."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metier.core.types import Passage
from metier.specialists.grounding import cite_best
from metier.specialists.knowledge import cite

TEXT = "Wear  “safety” glasses – always.\nThe pump’s seal (SP-07) lasts\n500 hours. ﬁlter: 3 µm"


def passage(text: str = TEXT, start: int = 100, name: str = "m.pdf#3") -> Passage:
    return Passage(id=name, text=text, source="m.pdf", heading=("Top",), page=4, start=start, end=start + len(text))


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ('wear "safety" glasses - always', "Wear  “safety” glasses – always"),
        ("The pump's seal (SP‑07) lasts 500 hours", "The pump’s seal (SP-07) lasts\n500 hours"),
        ("  500\nhours. filter ", "500 hours. ﬁlter"),
        ("seal", "seal"),
        ("3 μm", "3 µm"),
    ],
)
def test_small_differences_do_not_matter(quote, found):
    citation = cite(quote, [passage("nothing"), passage()])
    assert citation is not None
    assert " ".join(citation.quote.split()) == " ".join(found.split())
    assert TEXT[citation.start - 100 : citation.end - 100] == citation.quote
    assert (citation.page, citation.heading, citation.passage, citation.source) == (4, ("Top",), "m.pdf#3", "m.pdf")


@pytest.mark.parametrize("quote", ["", " ", "…", "'", "50 hours", "ear", "The pump seal", "500 hours. filter: 3 mm"])
def test_other_words_are_no_citation(quote):
    assert cite(quote, [passage()]) is None
    assert cite("seal", []) is None


@given(st.text(max_size=200), st.data())
def test_any_run_of_words_is_found_where_it_stands(text, data):
    runs = [match.span() for match in re.finditer(r"\S+", text)]
    assume(runs)
    first = data.draw(st.integers(0, len(runs) - 1))
    last = data.draw(st.integers(first, len(runs) - 1))
    quote = text[runs[first][0] : runs[last][1]]
    citation = cite(quote, [passage(text, start=7)])
    if citation is None:
        assert not any(map(str.isalnum, quote)) or quote not in text.split()
        return
    assert text[citation.start - 7 : citation.end - 7] == citation.quote
    assert cite(citation.quote, [passage(text, start=7)]) == citation


@given(st.lists(st.from_regex(r"[A-Za-z0-9äß’'-]{1,8}", fullmatch=True), min_size=1, max_size=30), st.data())
def test_words_of_a_text_are_always_found(words, data):
    text = " ".join(words)
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    quote = data.draw(st.sampled_from([" ", "\n", "  "])).join(words[first : last + 1])
    assume(any(map(str.isalnum, quote)))
    citation = cite(quote.upper() if "ß" not in quote else quote, [passage(text)])
    assert citation is not None
    assert text[citation.start - 100 : citation.end - 100] == citation.quote


def test_of_several_places_the_one_that_the_question_is_about() -> None:
    eyes = passage("Rinse eyes for at least 15 minutes. Take off wet clothes.", name="eyes.md#1")
    skin = passage(
        "after: acid on the skin; do: shower for at least 15 minutes\nafter: smoke; do: air", name="aid.md#2"
    )
    read = [eyes, skin]
    for task, name in (
        ("How long is skin rinsed under the shower?", "aid.md#2"),
        ("How long are eyes rinsed?", "eyes.md#1"),
    ):
        citation = cite_best("at least 15 minutes", task, read)
        assert citation is not None
        assert citation.passage == name
    twice = passage("machine: A; torque: 40 Nm\nmachine: B; torque: 40 Nm")
    citation = cite_best("40 Nm", "torque of machine B", [twice])
    assert citation is not None
    assert citation.start - twice.start == twice.text.rindex("40 Nm")
    assert cite_best("41 Nm", "torque of machine B", [twice]) is None
