"""The shared words: timings, budgets, files, errors, settings."""

from __future__ import annotations

import json
import threading
from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core import errors
from metier.core.errors import BudgetExceeded, ConfigError, MetierError, ModelNotPulled, unknown
from metier.core.files import read_jsonl, replace_folder, write_atomic
from metier.core.run import Meter, record, timing
from metier.core.settings import settings
from metier.core.types import Answer, Budget, Citation, Route, Usage


def test_timings_add_up_and_reach_threads():
    with record() as timings:
        for _ in range(2):
            with timing("model"):
                pass
        context = copy_context()

        def inside() -> None:
            with timing("retrieve"):
                pass

        worker = threading.Thread(target=context.run, args=(inside,))
        worker.start()
        worker.join()
    assert set(timings) == {"model", "retrieve"}


def test_timing_outside_of_a_run_is_harmless():
    with timing("model"):
        done = True
    with record() as timings:
        pass
    assert done
    assert timings == {}


def test_a_meter_stops_at_each_limit():
    with pytest.raises(BudgetExceeded, match="1 of 1 steps"):
        spend(Meter(Budget(steps=1)), 1).check()
    with pytest.raises(BudgetExceeded, match="needs 60 tokens, 50 are left"):
        spend(Meter(Budget(tokens=100)), 50).check(tokens=60)
    with pytest.raises(BudgetExceeded, match="seconds"):
        Meter(Budget(seconds=-1)).check()


def spend(meter, tokens):
    meter.spend(Usage(input_tokens=tokens, calls=1))
    return meter


@given(st.integers(0, 50), st.integers(0, 500), st.integers(0, 3))
def test_the_rest_of_a_budget_is_never_more_than_the_budget(steps, tokens, handoffs):
    meter = Meter(Budget(steps=10, tokens=200, handoffs=2))
    for _ in range(steps):
        meter.spend(Usage(input_tokens=tokens))
    rest = meter.rest(handoffs=handoffs)
    assert 0 <= rest.steps <= 10
    assert 0 <= rest.tokens <= 200
    assert rest.handoffs == max(0, 2 - handoffs)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    with pytest.raises(TypeError):
        write_atomic(path, 7)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "index"
    with replace_folder(target) as fresh:
        (fresh / "one").write_text("1")
    with pytest.raises(RuntimeError):
        build_badly(target)
    assert [p.name for p in target.iterdir()] == ["one"]
    assert [p.name for p in tmp_path.iterdir()] == ["index"]


def test_rows_end_at_newlines_only_and_blank_lines_do_not_count(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"input": "one\u2028still one"}\n\n  \n{"input": "two"}\r\n', encoding="utf-8")
    assert read_jsonl(path) == [{"input": "one\u2028still one"}, {"input": "two"}]
    assert read_jsonl(path, lambda row: len(row["input"])) == [13, 3]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"input": "cut o', "not JSON: Unterminated string"),
        (b'["a", "list"]', "expected an object, found list"),
        (b'{"input": "\xff"}', "not UTF-8"),
        (b'{"steps": "many"}', "steps: Input should be a valid integer"),
    ],
)
def test_a_wrong_row_is_named_or_left_out(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"steps": 3}\n\n' + line)
    with pytest.raises(ConfigError, match=rf"rows\.jsonl:3: {message}") as caught:
        read_jsonl(path, Budget.model_validate)
    assert (caught.value.file, caught.value.line) == (path, 3)
    assert read_jsonl(path, Budget.model_validate, tolerant=True) == [Budget(steps=3)]
    with pytest.raises(ConfigError, match=r"none\.jsonl: no such file"):
        read_jsonl(tmp_path / "none.jsonl", tolerant=True)


def test_what_makes_a_row_says_how_to_mend_it(tmp_path):
    def refuse(row):
        raise ConfigError("row without an 'answer'", hint="add one")

    path = tmp_path / "rows.jsonl"
    path.write_text("{}")
    with pytest.raises(ConfigError, match=r"rows\.jsonl:1: row without an 'answer'\n  → add one"):
        read_jsonl(path, refuse)


def test_errors_say_where_and_how_to_mend():
    error = ConfigError("wrong", file="team.yaml", line=3, field="base", hint="write a name")
    assert str(error) == "team.yaml:3: base: wrong\n  → write a name"
    assert "metier models pull x" in str(ModelNotPulled("x"))
    assert "did you mean 'safety'" in unknown("specialist", "saftey", ["safety", "stock"])


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    named = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, MetierError)}
    drawn = {word for line in (errors.__doc__ or "").splitlines() for word in line.split() if word in named}
    assert drawn == named


def build_badly(target):
    with replace_folder(target) as fresh:
        (fresh / "two").write_text("2")
        raise RuntimeError("disk full")


@pytest.mark.parametrize("value", ["zero", "0", "-1", "1.5"])
def test_a_wrong_thread_count_is_a_clear_error(monkeypatch, value):
    monkeypatch.setenv("METIER_THREADS", value)
    with pytest.raises(ConfigError, match="METIER_THREADS"):
        settings()


def test_an_answer_survives_json():
    route = Route(decision="one", confidence=0.5)
    citation = Citation(source="a.md", quote="x", start=0, end=1, heading=("A", "B"))
    answer = Answer(text="x", citations=(citation,), route=route, timings={"total": 0.1})
    assert Answer.model_validate(json.loads(answer.model_dump_json())) == answer
