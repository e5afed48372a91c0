"""What is shipped with a skill: the record of a training run becomes a model card and hashes that are checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from metier.benchmarks.skills.skill import TRAINING, Lesson, Skill, Source, kept_aside, main, read_rows, seal
from metier.core.errors import IntegrityError
from metier.core.files import sha256
from metier.core.models import ModelStore
from metier.specialists.adapters.folder import CONFIG, DECISION, RECORD, open_adapter
from metier.specialists.prompt import TrainingExample
from metier.specialists.styles.quote import QUOTE

ROWS = [
    {"input": "Code of the pump?", "answer": "kappa seven"},
    {"input": "Code of the valve?", "answer": "delta\u2028two"},
]


def lessons(folder, sets, seed, rounds) -> Lesson:
    rows = [row for name in sets for row in read_rows(folder, name)]
    made = [TrainingExample(QUOTE.prompt(r["input"]), r["answer"]) for r in rows]
    return Lesson(made * rounds, made[:1])


SKILL = Skill(
    name="codes",
    title="know the codes",
    prompt="Made by the renderer.",
    preparation="Nothing was changed.",
    limits="Two codes.",
    tags=("test",),
    sources={"codes": Source("our own", "CC0"), "absent": Source("nobody", "none")},
    lessons=lessons,
)


def test_a_trained_skill_is_sealed(tmp_path: Path, models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = tmp_path / "data", tmp_path / "codes"
    data.mkdir()
    (data / "codes.jsonl").write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in ROWS), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["codes", str(data), str(out), "--rank", "1", "--rounds", "3", "--minutes", "1"])
    main(SKILL)
    (out / DECISION).write_text('{"bias": 0, "odds": 1, "similarity": 1}')
    figures = tmp_path / "figures.json"
    row = {"set": "codes", "system": "metier codes", "metric": "em", "value": 0.5, "n": 2, "low": 0.0, "high": 1.0}
    figures.write_text(
        json.dumps({"rows": [row, {**row, "metric": "f1", "value": 0.75}, {**row, "metric": "p50_s", "value": 1.5}]})
    )
    seal(out, figures)

    card = (out / "README.md").read_text()
    assert "| codes | metier codes | 2 | 50.0 (0–100) | 75.0 (0–100) | 1.50 (0.00–1.00) |" in card
    assert f"| codes.jsonl | our own | CC0 | `{sha256(data / 'codes.jsonl')[:16]}…` |" in card
    assert "absent" not in card, "only sets that were read are named"
    assert "DATA OUT --minutes 1 --rounds 3 --rank 1 --longest 1024 --seed 0" in card
    assert not (out / TRAINING).exists()
    record = open_adapter(out).record
    assert record["report"]["examples"] == 6
    for name in (CONFIG, DECISION):
        sealed = (out / name).read_text()
        (out / name).write_text(sealed + " ")
        with pytest.raises(IntegrityError, match=f"{name}.*{RECORD}"):
            open_adapter(out)
        (out / name).write_text(sealed)
    assert open_adapter(out)


def test_a_group_stays_where_it_is() -> None:
    groups = [f"group {n}" for n in range(2000)]
    aside = [g for g in groups if kept_aside(g)]
    assert 0.12 < len(aside) / len(groups) < 0.18
    assert set(aside) < {g for g in groups if kept_aside(g, share=0.3)}
