"""What is shipped with a skill: the record of a training run becomes a model card and hashes that are checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from metier.agents.cards import TeamCard
from metier.benchmarks.skills.label import Labelled, aside
from metier.benchmarks.skills.skill import TRAINING, kept_aside, read_rows
from metier.core.errors import IntegrityError
from metier.core.files import sha256
from metier.core.models import ModelStore
from metier.specialists.adapters.choose import find_skill, skill_of
from metier.specialists.adapters.folder import CONFIG, DECISION, README, RECORD, open_adapter
from metier.specialists.card import SpecialistCard
from metier.specialists.styles.table import STYLES
from metier.tests.house import ROOT

SKILLS = ROOT / "benchmarks" / "skills"
TEXTS = {
    "card arrival": ["Where is my card?", "When does the card\u2028come?", "My card is not here yet.", "Is it sent?"],
    "lost card": ["My card is gone.", "I left my card on the bus.", "I cannot find my card.", "It was stolen."],
    "exchange rate": ["What is the rate of the euro?", "How do you change money?", "Which rate holds?", "Dollars?"],
}


def run(folder: Path, *command: str | Path) -> None:
    """Run a command of the workshop in some folder, as a maintainer does."""
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_skill_is_trained_and_sealed_by_its_commands(tmp_path: Path, models: ModelStore) -> None:
    data, out = tmp_path / "data", tmp_path / "label"
    data.mkdir()
    rows = [{"input": text, "answer": label} for label, texts in TEXTS.items() for text in texts]
    file = data / "intent_banking77.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert len(read_rows(data, file.stem)) == len(rows), "only a newline ends a row"
    run(tmp_path, SKILLS / "label.py", data, out, "--rank", "1", "--rounds", "1", "--minutes", "1")
    figures = tmp_path / "figures.json"
    row = {"set": "codes", "system": "metier codes", "metric": "em", "value": 0.5, "n": 2, "low": 0.0, "high": 1.0}
    figures.write_text(
        json.dumps({"rows": [row, {**row, "metric": "f1", "value": 0.75}, {**row, "metric": "p50_s", "value": 1.5}]})
    )
    (out / DECISION).write_text('{"bias": 0, "odds": 1, "similarity": 1}')
    run(tmp_path, SKILLS / "skill.py", out, figures)

    card = (out / README).read_text()
    assert "| codes | metier codes | 2 | 50.0 (0–100) | 75.0 (0–100) | 1.50 (0.00–1.00) |" in card
    assert f"(Casanueva et al., NLP4ConvAI 2020) | CC BY 4.0 | `{sha256(file)[:16]}…` |" in card
    assert "CUAD" not in card, "only sets that were read are named"
    command = "python benchmarks/skills/label.py DATA OUT --minutes 1 --rounds 1 --rank 1 --longest 1024 --seed 0"
    assert command in card
    assert not (out / TRAINING).exists()
    record = open_adapter(out).record
    learnt = [r for r in rows if not aside(Labelled(f"intent/{r['answer']}", r["input"], (r["answer"],)))]
    assert record["command"] == command
    assert record["report"]["examples"] == len(learnt) // 4 > 0, "four texts in a prompt"
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


@pytest.mark.parametrize("style", STYLES)
def test_the_default_base_has_a_skill_for_every_way_of_working(style: str) -> None:
    base = TeamCard.model_fields["base"].default
    assert skill_of(SpecialistCard.model_construct(style=style), base) == find_skill("general")
