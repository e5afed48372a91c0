"""Support of an answer by a text, and the measures for short answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core.metrics import exact_match, token_f1
from metier.core.text import content_words, coverage, sentences
from metier.core.types import Passage
from metier.specialists.grounding import supporting_sentence, with_context
from metier.specialists.knowledge.citation import cite

TEXT = "Grease the carousel bearing every 500 h. Use lithium grease NLGI 2.\n| Bolt | Torque |\n| M8 | 25 Nm |"
PASSAGE = Passage(id="1", text=TEXT, source="filler.md", start=100, end=100 + len(TEXT))


def test_words_that_carry_meaning_keep_codes_whole():
    assert content_words("Is the P-101 on 3.5 bar?") == ["p-101", "3.5", "bar"]


def test_coverage_sees_through_endings_but_not_through_codes():
    assert coverage(["greasing", "bearings"], TEXT) == 1.0
    assert coverage(["p-101"], "P-102 is a pump") == 0.0


def test_the_sentence_that_supports_an_answer_is_cited_at_its_place():
    citation = supporting_sentence("The bearing is greased each 500 h", [PASSAGE])
    assert citation is not None
    assert citation.quote == "Grease the carousel bearing every 500 h."
    assert citation.start == 100


def test_an_answer_without_support_has_no_citation():
    assert supporting_sentence("Paris is the capital of France", [PASSAGE]) is None


def test_a_quote_is_shown_with_the_line_it_stands_in():
    citation = cite("25 Nm", [PASSAGE])
    assert citation is not None
    assert with_context(citation, [PASSAGE]).context == "| M8 | 25 Nm |"


@given(st.text(max_size=200))
def test_sentences_stand_in_the_text_in_order(text):
    at = 0
    for sentence in sentences(text):
        found = text.find(sentence, at)
        assert found >= at
        at = found + len(sentence)


@pytest.mark.parametrize(
    ("answer", "references", "em", "f1"),
    [
        ("The 500 h", ["500 h"], 1, 1.0),
        ("500", ["500 h", "600"], 0, 2 / 3),
        ("no idea", ["500 h"], 0, 0.0),
        ("", ["500 h"], 0, 0.0),
    ],
)
def test_measures_of_short_answers(answer, references, em, f1):
    assert exact_match(answer, references) == em
    assert token_f1(answer, references) == pytest.approx(f1)


@given(st.text(max_size=60), st.text(max_size=60))
def test_f1_is_a_share_and_does_not_care_who_is_who(one, two):
    assert 0 <= token_f1(one, [two]) <= 1
    assert token_f1(one, [two]) == pytest.approx(token_f1(two, [one]))
