"""Words, sentences and references, told in one way for the whole package; and the small models over them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core.kernel_ridge import fit_kernel_ridge
from metier.core.text import (
    HASH_BUCKETS,
    codes,
    content_words,
    coverage,
    hash_bucket,
    rarity,
    references,
    refers_back,
    sentence_spans,
    sentences,
    stem,
    word_pieces,
)
from metier.core.types import Logistic, sigmoid


@pytest.mark.parametrize(
    "words", [("leak", "leaks", "leaking", "leaked"), ("company", "companies"), ("grease", "greased")]
)
def test_forms_of_a_word_meet(words: tuple[str, ...]) -> None:
    assert len({stem(word) for word in words}) == 1


def test_codes_stay_as_they_are() -> None:
    assert content_words("Is the pump P-101s leaking?") == ["pump", "p-101s", "leaking"]
    assert codes("Is the pump P-101s of line 2 leaking?") == {"p-101s"}
    assert stem("p-101s") == "p-101s"


def test_coverage_counts_content_words_once_by_their_stems() -> None:
    words = content_words("Which pumps are greased, and how are pumps cleaned?")
    assert coverage(words, "Grease the pump daily.") == pytest.approx(2 / 3)
    assert coverage([], "anything") == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("i like tea. my name is ann!", ["i like tea.", "my name is ann!"]),
        ("Grease it every 500 h. Use NLGI 2.", ["Grease it every 500 h.", "Use NLGI 2."]),
        ("We meet J. Smith at 3 p.m. on Monday", ["We meet J. Smith at 3 p.m. on Monday"]),
        ("I work at Acme Inc. My boss is Bo.", ["I work at Acme Inc.", "My boss is Bo."]),
        ("One line\n  and another  \n\n", ["One line", "and another"]),
        ("你好。再见。", ["你好。", "再见。"]),
        ("", []),
    ],
)
def test_what_people_type_is_cut_into_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_documents_are_cut_at_full_stops_before_capitals() -> None:
    text = "See Fig. 3 and approx. five more\nlines. The end\n\nof it"
    assert [text[a:b] for a, b in sentence_spans(text)] == [
        "See Fig. 3 and approx. five more\nlines.",
        "The end",
        "of it",
    ]


@given(st.text(alphabet="aB. !\n。…'\"(5", max_size=60), st.booleans())
def test_sentences_leave_out_nothing_but_white_space(text: str, typed: bool) -> None:
    spans = list(sentence_spans(text, typed=typed))
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())
    assert all(a < b for a, b in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize(
    "task",
    [
        "And for the labeller of line four, please?",
        "what about the machine on the other side?",
        "how long does that take at night on Sundays?",
        "Can I get a bigger and newer one?",
        "You said earlier who signs for the permit",
        "for line 3?",
    ],
)
def test_tasks_that_refer_back(task: str) -> None:
    assert refers_back(task)


@pytest.mark.parametrize(
    "task",
    [
        "How often is the chiller's filter cleaned?",
        "Highlight the parts of this contract about notice periods",
        "Has someone else used my card to withdraw cash?",
        "which permit do I need for hot work near the boiler",
    ],
)
def test_tasks_that_stand_alone(task: str) -> None:
    assert references(task) == set()


def test_rare_words_weigh_more() -> None:
    weights = rarity([{"pump", "leak"}, {"pump"}, {"pump", "fan"}])
    assert weights["leak"] == weights["fan"] == math.log(4) > weights["pump"] == math.log(2)


def test_pieces_show_where_a_word_begins() -> None:
    assert list(word_pieces("fan", (3, 5))) == [" fa", "fan", "an ", " fan "]
    assert list(word_pieces("", (3,))) == []


@given(st.text())
def test_a_term_has_one_column(term: str) -> None:
    assert 0 <= hash_bucket(term) == hash_bucket(term) < HASH_BUCKETS


@given(st.floats(-1e6, 1e6))
def test_log_odds_are_probabilities(logit: float) -> None:
    assert 0 < sigmoid(logit) < 1 or abs(logit) > 30
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1)


def test_a_logistic_model_ships_as_json() -> None:
    model = Logistic(weights={"near": 2.0, "long": -1.0}, bias=0.5, made_by="a test")
    again = Logistic.model_validate_json(model.model_dump_json())
    assert again.probability({"near": 1.0, "long": 2.0, "unused": 9.0}) == pytest.approx(1 / (1 + math.exp(-0.5)))
    with pytest.raises(KeyError, match="long"):
        again.probability({"near": 1.0})


def test_held_out_scores_are_those_of_models_that_did_not_see_the_example() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(12, 5)).astype(np.float32)
    kernel, targets, ridge = rows @ rows.T, random.normal(size=(12, 2)).astype(np.float32), 0.5
    fitted = fit_kernel_ridge(kernel, targets, ridge)
    for left_out in range(12):
        others = np.arange(12) != left_out
        system = kernel[np.ix_(others, others)] + ridge * np.eye(11)
        coefficients = np.linalg.solve(system, (targets - fitted.prior)[others])
        assert fitted.held_out[left_out] == pytest.approx(
            kernel[left_out, others] @ coefficients + fitted.prior, abs=1e-3
        )
