"""Measures, intervals, the gate's rule, and runs that are killed and go on."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from metier.core.errors import ConfigError, StateError
from metier.core.types import Answer, Citation, ToolCall
from metier.specialists.card import SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.evaluation.measures import (
    Ground,
    calls_match,
    coverage_curve,
    grounding,
    measure_columns,
    objects_match,
)
from metier.specialists.evaluation.questions import Question, Result
from metier.specialists.evaluation.run import FILE, evaluate, read_results
from metier.specialists.evaluation.statistics import LEAST_QUESTIONS, difference, figure, judge
from metier.specialists.specialist import Specialist
from metier.specialists.styles.sql.style import SqlSource
from metier.specialists.styles.table import STYLES
from metier.tools.builtin.sql import connect
from metier.tools.tool import ToolContext

TEXT = "The pump is greased every 200 h. The valve is red."


def question(answer: object, **more: object) -> Question:
    return Question.of({"input": f"what about {answer}", "answer": answer, **more})


QUOTED = STYLES["quote"].scoring


def result(right: object, said: str | None, confidence: float = 1.0, style: str = "quote") -> Result:
    """What a specialist said; None is no draft at all."""
    asked = question(right)
    answer = Answer(text=said or "", kind="abstain" if said is None else "answer", confidence=confidence)
    scores = {} if said is None else STYLES[style].scoring.score(asked, answer, Ground())
    return Result.of(asked, answer, scores, seconds=0.1)


def value(results: list[Result], name: str, style: str = "quote", threshold: float = 0.5) -> float:
    column = measure_columns(results, STYLES[style].scoring, threshold)[name]
    return column.statistic(column.values)


def test_a_row_is_a_question_or_says_what_is_missing() -> None:
    assert question("200 h").texts == ["200 h"]
    assert Question.of({"input": "x", "answers": ["a", "b"]}).texts == ["a", "b"]
    both = Question.of({"input": "x", "answer": "7", "sql": "SELECT 7"})
    assert (both.texts, both.sql) == (["7"], "SELECT 7"), "a quote is measured by the answer"
    assert not question(None).answerable
    assert not question([]).answerable
    assert question(0).answers == (0,)
    assert question("a").id == question("a").id != question("b").id
    for row in ({"answer": "x"}, {"input": 3, "answer": "x"}, {"input": " ", "answer": "x"}, {"input": "x"}):
        with pytest.raises(ConfigError):
            Question.of(row)
    with pytest.raises(ConfigError, match="'answers' should be a list"):
        Question.of({"input": "x", "answers": "abc"})


def test_refusals_count_as_the_question_deserves() -> None:
    results = [
        result("200 h", "200 h"),
        result("red", "red", confidence=0.1),  # refused, though right
        result(None, None),  # refused, rightly
        result(None, "blue"),  # answered, though nobody should
    ]
    assert value(results, "em") == pytest.approx(2 / 4)
    assert value(results, "answered") == pytest.approx(2 / 4)
    assert value(results, "f1_answered") == pytest.approx(1 / 2)
    assert value(results, "abstain_precision") == pytest.approx(1 / 2)
    assert value(results, "abstain_recall") == pytest.approx(1 / 2)
    assert value(results, "em", threshold=0.0) == pytest.approx(3 / 4)


def test_a_metric_that_applies_to_nothing_is_left_out() -> None:
    found = measure_columns([result("a", "a")], QUOTED, 0.5)
    assert "abstain_recall" not in found
    assert "abstain_precision" not in found
    assert "citation_precision" not in found


LABELS = st.sampled_from(["red", "green", "blue"])


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=30))
def test_accuracy_and_macro_f1_are_those_of_sklearn(pairs: list[tuple[str, str]]) -> None:
    results = [result(right, said, style="label") for right, said in pairs]
    right, said = [p[0] for p in pairs], [p[1] for p in pairs]
    expected = f1_score(right, said, average="macro", labels=sorted(set(right)))
    assert value(results, "macro_f1", "label") == pytest.approx(expected)
    assert value(results, "accuracy", "label") == pytest.approx(np.mean([a == b for a, b in pairs]))


def test_citations_are_checked_at_their_place_and_in_the_named_document() -> None:
    def cited(quote: str, start: int, source: str = "docs/pump.md") -> Answer:
        citation = Citation(source=source, quote=quote, start=start, end=start + len(quote), context=TEXT)
        return Answer(text="200 h", citations=(citation,))

    ground, asked = Ground(text=lambda source: TEXT), question("200 h", source="pump.md")
    at = TEXT.index("200 h")
    assert grounding(asked, cited("200 h", at), ground) == {"citation_precision": 1.0, "faithfulness": 1.0}
    assert grounding(asked, cited("200 h", at + 1), ground)["citation_precision"] == 0
    assert grounding(asked, cited("200 h", at, "docs/other.md"), ground)["citation_precision"] == 0
    invented = cited("200 h", at).model_copy(update={"text": "every 300 days"})
    assert grounding(asked, invented, ground)["faithfulness"] < 0.5
    assert grounding(asked, Answer(text="200 h"), ground) == {"citation_precision": 0.0, "faithfulness": 0.0}
    assert grounding(asked, Answer(text="", kind="abstain"), ground) == {}


ORDER = {"name": "order", "arguments": {"part": "P-1011", "count": 2}}


@pytest.mark.parametrize(
    ("wanted", "arguments", "same"),
    [
        (ORDER, {"part": "p 1011", "count": 2.0}, True),
        (ORDER, {"part": "P-1011", "count": 3}, False),
        (ORDER, {"part": "P-1011"}, False),
        (ORDER, {"part": "P-1011", "count": 2, "urgent": True}, False),
        ({"order": {"part": ["P-1011", "seal"], "count": [2, ""]}}, {"part": "seal"}, True),
        ({"order": {"part": ["P-1011"], "count": [2]}}, {"part": "P-1011"}, False),
        ({"order": {"part": [["a", "b"]]}}, {"part": ["A", "B"]}, True),
        ({"order": {"part": [["a", "b"]]}}, {"part": ["a"]}, False),
        ({"order": {"part": [{"x": [1, 2]}]}}, {"part": {"x": 2}}, True),
        ({"order": {"part": [True]}}, {"part": 1}, False),
        ({"buy": {"part": ["P-1011"]}}, {"part": "P-1011"}, False),
    ],
)
def test_calls_are_compared_by_their_parts(wanted: object, arguments: dict, same: bool) -> None:
    assert calls_match([ToolCall(name="order", arguments=arguments)], wanted) is same


def test_several_calls_in_any_order_and_none_too_many() -> None:
    one, two = ToolCall(name="a", arguments={"x": 1}), ToolCall(name="b")
    wanted = [{"b": {}}, {"a": {"x": [1]}}]
    assert calls_match([one, two], wanted)
    assert not calls_match([one], wanted)
    assert not calls_match([one, two, two], wanted)


def test_calls_that_were_not_due_count_as_irrelevance() -> None:
    def acted(right: object, *calls: ToolCall) -> Result:
        asked, kind = question(right), "answer" if calls else "abstain"
        answer = Answer(text="done", kind=kind, confidence=1.0, tool_calls=calls)
        return Result.of(asked, answer, STYLES["act"].scoring.score(asked, answer, Ground()), seconds=0.1)

    order = ToolCall(name="order", arguments=ORDER["arguments"])
    results = [acted(ORDER, order), acted(ORDER), acted(None, order), acted(None)]
    assert value(results, "ast_match", "act") == pytest.approx(1 / 2)
    assert value(results, "irrelevance", "act") == pytest.approx(1 / 2)
    assert value(results, "overall", "act") == pytest.approx(2 / 4)


def test_objects_are_compared_as_a_whole_and_by_field() -> None:
    assert objects_match('{"a": 1, "b": "X"}', {"a": 1, "b": "x"}) == (True, 1.0)
    assert objects_match('{"a": 1, "b": "y", "c": 0}', {"a": 1, "b": "x"}) == (False, 0.5)
    assert objects_match("no JSON", {"a": 1}) == (False, 0.0)


def test_statements_are_compared_by_their_rows(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "stock.sqlite") as made:
        made.executescript("CREATE TABLE parts (name, count); INSERT INTO parts VALUES ('seal', 7), ('valve', 2)")
    made.close()
    ground = Ground(resources=SqlSource("stock.sqlite", connect(ToolContext(tmp_path), "stock.sqlite")))

    def score(said: str, **row: object) -> float:
        call = ToolCall(name="query_database", arguments={"query": said})
        asked = Question.of({"input": "how many seals?", **row})
        return STYLES["sql"].scoring.score(asked, Answer(text="7", tool_calls=(call,)), ground)["execution_match"]

    right = "SELECT count FROM parts WHERE name = 'seal'"
    assert score("SELECT max(count) FROM parts", answer="seven", sql=right) == 1
    assert score("SELECT count FROM parts", sql=right) == 0
    assert score("SELECT nothing FROM parts", sql=right) == 0
    assert score("SELECT name FROM parts", answers=["SELECT name FROM parts ORDER BY name DESC"]) == 0
    assert score("SELECT name FROM parts", answers=["SELECT name FROM parts ORDER BY name"]) == 1
    assert score("SELECT 1", answer="7") == 1, "without a statement the answer's text counts"


SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=40)


@given(SCORES)
def test_an_interval_holds_its_value(scores: list[float]) -> None:
    results = [result("a", "a", confidence=c) for c in scores]
    found = figure(measure_columns(results, QUOTED, 0.5)["answered"])
    assert found.low <= found.value <= found.high
    assert found.n == len(scores)


@given(SCORES)
def test_a_system_is_no_better_than_itself(scores: list[float]) -> None:
    column = measure_columns([result("a", "a", confidence=c) for c in scores], QUOTED, 0.5)["f1"]
    found = difference(column, column)
    assert (found.value, found.low, found.high, found.better) == (0, 0, 0, 0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=30))
def test_the_risk_coverage_curve_ends_at_the_plain_mean(rows: list[tuple[bool, float]]) -> None:
    results = [result("a", "a" if good else "b", confidence=sure) for good, sure in rows]
    curve = coverage_curve(results, "f1")
    assert curve[-1] == pytest.approx((1.0, np.mean([good for good, _ in rows])))
    assert [c for c, _ in curve] == sorted(c for c, _ in curve)


def run_of(good: int, of: int) -> list[Result]:
    return [result(f"a{n}", f"a{n}" if n < good else "wrong") for n in range(of)]


def test_the_gate_lets_through_what_is_better_and_says_why() -> None:
    said = judge(run_of(30, 40), run_of(20, 40), QUOTED, 0.3, "the card's adapter")
    assert said.better
    assert "0.500 → 0.750 against the card's adapter on 40 questions" in said.why
    assert not judge(run_of(20, 40), run_of(20, 40), QUOTED, 0.3, "x").better
    assert not judge(run_of(20, 40), run_of(30, 40), QUOTED, 0.3, "x").better
    assert not judge(run_of(21, 40), run_of(20, 40), QUOTED, 0.3, "x").better, "one question may be chance"
    few = LEAST_QUESTIONS - 1
    assert "10 are needed" in judge(run_of(few, few), run_of(0, few), QUOTED, 0.3, "x").why


CARD = SpecialistCard(name="codes", description="Knows the codes.", style="free", abstain_below=0.0)
QUESTIONS = [question(f"code {n}") for n in range(5)]


class Killed(Exception):
    """Stands for a kill."""


def say(words: str, times: list[str]) -> Specialist:
    """A specialist that answers with those words, and notes each question."""
    return Specialist(CARD, ScriptedEngine(lambda messages: times.append(messages[-1].text) or words))


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    def kill(what: str, done: int, total: int) -> None:
        if done == 2:
            raise Killed

    asked: list[str] = []
    with pytest.raises(Killed):
        evaluate(say("code 1", asked), QUESTIONS, tmp_path, Ground(), kill)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"id": "cut o')
    told: list[tuple[str, int, int]] = []
    results = evaluate(say("code 1", asked), QUESTIONS, tmp_path, Ground(), lambda *now: told.append(now))
    assert len(asked) == 5
    assert told[0] == ("questions", 2, 5)
    assert told[-1] == ("questions", 5, 5)
    assert [r.scores["em"] for r in results] == [0, 1, 0, 0, 0]
    assert list(read_results(tmp_path)) == [q.id for q in QUESTIONS]
    assert evaluate(say("other", asked), QUESTIONS, tmp_path, Ground()) == results
    assert len(asked) == 5


def test_a_changed_question_is_asked_again_and_the_others_are_not(tmp_path: Path) -> None:
    asked: list[str] = []
    evaluate(say("x", asked), QUESTIONS, tmp_path, Ground())
    evaluate(say("x", asked), [*QUESTIONS[:4], question("new")], tmp_path, Ground())
    assert len(asked) == 6


def test_an_engine_that_fails_is_a_refusal_for_now(tmp_path: Path) -> None:
    results = evaluate(Specialist(CARD, ScriptedEngine(["one"])), QUESTIONS[:2], tmp_path, Ground())
    assert [r.found for r in results] == [True, False]
    assert results[1].reason.startswith("EngineError: the script has 1 replies")
    assert list(read_results(tmp_path)) == [QUESTIONS[0].id], "what failed is asked again the next time"


def test_two_runs_of_one_version_do_not_mix(tmp_path: Path) -> None:
    def again(what: str, done: int, total: int) -> None:
        with pytest.raises(StateError, match="another process"):
            evaluate(say("x", []), QUESTIONS, tmp_path, Ground())

    evaluate(say("x", []), QUESTIONS[:1], tmp_path, Ground(), again)
    assert json.loads((tmp_path / FILE).read_text().splitlines()[0])["text"] == "x"
