from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.benchmarks.harness import (
    Report,
    bootstrap,
    figure,
    parser,
    progress,
    quantile,
    read_set,
    read_training,
    sample,
    wanted,
)


def arguments(folder: Path, *more: str):
    return parser("test").parse_args([str(folder), *more])


def write(folder: Path, name: str, rows: list[dict]) -> None:
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")


def test_limit_draws_the_same_rows_for_a_seed_and_keeps_their_order(tmp_path):
    write(tmp_path, "a", [{"id": i} for i in range(100)])
    first = read_set(arguments(tmp_path, "--limit", "10"), "a")
    assert first == read_set(arguments(tmp_path, "--limit", "10"), "a")
    assert first != read_set(arguments(tmp_path, "--limit", "10", "--seed", "1"), "a")
    assert [row["id"] for row in first] == sorted(row["id"] for row in first)
    assert len(first) == 10


@given(st.lists(st.integers()), st.one_of(st.none(), st.integers(0, 20)), st.integers())
def test_sample_takes_rows_that_exist(values, limit, seed):
    rows = [{"v": v, "i": i} for i, v in enumerate(values)]
    taken = sample(rows, limit, seed)
    assert len(taken) == (len(rows) if limit is None else min(limit, len(rows)))
    assert [row["i"] for row in taken] == sorted({row["i"] for row in taken})


def test_absent_sets_are_said_aloud(tmp_path, capsys):
    write(tmp_path, "here", [{}])
    assert wanted(arguments(tmp_path), ["here", "gone"]) == ["here"]
    assert "gone" in capsys.readouterr().err
    assert wanted(arguments(tmp_path, "--only", "other"), ["here"]) == []


def test_training_is_read_from_its_own_folder(tmp_path):
    train = tmp_path / "train"
    train.mkdir()
    write(train, "a", [{"id": "t"}])
    args = arguments(tmp_path, "--train", str(train))
    assert read_training(args, "a") == [{"id": "t"}]
    assert read_training(args, "b") == []


def test_interval_covers_the_truth_about_as_often_as_promised():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        low, high = bootstrap(rng.random(60) < 0.8, seed=seed, resamples=300)
        hits += low <= 0.8 <= high
    assert 86 <= hits <= 100


def test_paired_columns_are_resampled_together():
    scores = np.column_stack([np.arange(50), np.arange(50)])
    low, high = bootstrap(scores, lambda s: float(np.max(np.abs(s[:, 0] - s[:, 1]))))
    assert (low, high) == (0, 0)


def test_report_writes_the_promised_shape(tmp_path, capsys):
    out = tmp_path / "new" / "out.json"
    report = Report(arguments(tmp_path, "--json", str(out)))
    row = report.add("set", "metier", "accuracy", [1, 1, 0, 1])
    report.add("set", "metier", "p50_s", [0.001, 0.002, 0.003], quantile(0.5))
    report.add_value("set", "metier", "train_s", 12.5)
    report.finish()
    written = json.loads(out.read_text())
    assert set(written) == {"machine", "versions", "seconds", "rows"}
    assert written["rows"][0] == {
        "set": "set", "system": "metier", "metric": "accuracy", "value": 0.75, "n": 4, "low": row.low, "high": row.high,
    }  # fmt: skip
    assert 0 <= row.low < 0.75 < row.high <= 1
    assert written["rows"][1]["value"] == 0.002
    assert "accuracy" in capsys.readouterr().out


def test_scoring_nothing_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="nothing was scored"):
        Report(arguments(tmp_path)).add("set", "metier", "accuracy", [])


def test_progress_yields_everything_and_tells_the_time_left(capsys):
    assert list(progress([1, 2, 3], "work", every=0)) == [1, 2, 3]
    assert "2/3" in capsys.readouterr().err


def test_small_figures_keep_their_digits():
    assert figure(0.9712) == "0.9712"
    assert figure(0.00034) == "0.00034"
    assert figure(12345.6) == "1.235e+04"
