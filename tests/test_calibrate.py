"""A team's own confidence: fitted to the answers to its questions, taken only where that is better, and then used."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage

from metier.agents.assemble import OwnConfidence, own_confidence_path
from metier.agents.build import BuildReport, build, changed_since_build
from metier.agents.calibrate import LEAST_ANSWERS, LEAST_OF_EACH, Refit, fit_calibration
from metier.agents.cards import Blueprint
from metier.agents.evaluate import evaluate
from metier.agents.team import Team
from metier.core.errors import ConfigError, StateError
from metier.core.models import ModelStore
from metier.core.types import Answer
from metier.serving.doctor import check_team
from metier.specialists.confidence import AS_SHIPPED, fitted_for
from metier.specialists.engines.scripted import ScriptedEngine
from metier.tests.conftest import Run

PRESS = "press"
BOLTS = range(10, 50)
TEAM = """
name: works
description: Looks after the press.
specialists: [press]
embedder: minilm
engine: metier.tests.test_calibrate:ShyEngine
"""
CARD = """
name: press
description: How tight the bolts of the press are.
style: answer
model: {adapter: none}
knowledge: {sources: [documents]}
examples: [examples.jsonl]
evaluation: evaluation.jsonl
"""


def torque(bolt: int) -> str:
    return f"{bolt + 300} Nm"


def knows(bolt: int) -> bool:
    """Three answers in four are right."""
    return bolt % 4 > 0


class ShyEngine(ScriptedEngine):
    """Quotes the torque of most bolts and the paste of the others, and is never sure: of the former a little more."""

    def __init__(self, base: Path, adapters: Mapping[str, Path]) -> None:
        super().__init__(self._reply, tuple(adapters))

    @staticmethod
    def _reply(messages: list[BaseMessage]) -> AIMessage:
        bolt = int(re.findall(r"bolt B-(\d+)\?", messages[-1].text)[-1])
        sure = -(3.7 if knows(bolt) else 4.9) - bolt % 7 / 10
        metadata = {"logprob": sure, "first_logprob": sure}
        return AIMessage(torque(bolt) if knows(bolt) else "grey paste", response_metadata=metadata)


def ask_about(bolt: int) -> str:
    return f"How tight is bolt B-{bolt}?"


def write(path: Path, rows: Mapping[int, str]) -> None:
    lines = [json.dumps({"input": ask_about(bolt), "answer": answer}) + "\n" for bolt, answer in rows.items()]
    path.write_text("".join(lines))


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory, models: ModelStore) -> tuple[Path, BuildReport, BuildReport]:
    """The team, built without and then with its questions being asked."""
    root = tmp_path_factory.mktemp("calibrate") / "works"
    folder = root / PRESS
    (folder / "documents").mkdir(parents=True)
    (root / "team.yaml").write_text(TEAM)
    (folder / "specialist.yaml").write_text(CARD)
    said = [f"# Bolt B-{bolt}\n\nBolt B-{bolt} is tightened to {torque(bolt)} with grey paste.\n" for bolt in BOLTS]
    (folder / "documents" / "press.md").write_text("\n".join(said))
    (folder / "examples.jsonl").write_text('{"input": "how tight are the bolts of the press"}\n')
    write(folder / "evaluation.jsonl", {bolt: torque(bolt) for bolt in BOLTS})
    first = build(root, store=models)
    return root, first, build(root, store=models, confidence=True)


@pytest.fixture
def plan(works: tuple[Path, BuildReport, BuildReport], tmp_path: Path) -> Blueprint:
    """A copy of the team whose confidence was fitted."""
    return Blueprint.read(shutil.copytree(works[0], tmp_path / "works"))


def refit(plan: Blueprint, models: ModelStore, *, confidence: bool = False) -> Refit:
    done = build(plan, store=models, confidence=confidence).confidence
    assert done
    return done


def ask(plan: Blueprint, models: ModelStore, bolt: int) -> Answer:
    with Team.load(plan, store=models) as team:
        return team.ask(ask_about(bolt), specialist=PRESS)


def ece(plan: Blueprint, models: ModelStore) -> float:
    (summary,) = evaluate(plan, systems=["base"], store=models).specialists
    return summary.systems[0].metrics["ece"].value


def test_without_answers_a_build_says_what_would_be_gained(works: tuple[Path, BuildReport, BuildReport]) -> None:
    _, first, _ = works
    assert first.confidence
    assert not first.confidence.fitted
    (line,) = [line for line in first.lines() if line.startswith("confidence: ")]
    assert "as shipped; 40 of its 40 questions have no answer yet" in line
    assert "metier build --confidence" in line


def test_a_team_that_is_too_shy_is_surer_of_its_right_answers(
    works: tuple[Path, BuildReport, BuildReport], plan: Blueprint, models: ModelStore
) -> None:
    assert works[2].confidence
    assert works[2].confidence.fitted, str(works[2].confidence)
    fitted = {bolt: ask(plan, models, bolt) for bolt in (13, 16)}
    ece_after = ece(plan, models)
    own_confidence_path(plan).unlink()
    shipped = {bolt: ask(plan, models, bolt) for bolt in (13, 16)}
    assert shipped[13].kind == "abstain"
    assert fitted[13].kind == "answer"
    assert fitted[13].text == torque(13)
    assert fitted[13].confidence > 0.5 > shipped[13].confidence
    assert fitted[13].confidence - fitted[16].confidence > 0.1, "a wrong answer stays the less sure one"
    assert fitted[13].version != shipped[13].version, "what is sure of itself in another way is another version"
    assert ece_after < ece(plan, models) - 0.1, "kept answers are judged as the team judges now"


def test_what_is_no_better_than_the_shipped_is_not_taken(plan: Blueprint, models: ModelStore) -> None:
    """Right and wrong answers that are as sure as the shipped model says."""
    (results,) = plan.state.glob("evaluations/*/results.jsonl")
    shipped, rows = fitted_for(plan.card.base), [json.loads(line) for line in results.read_text().splitlines()]
    for row, right in zip(rows, [True, False] * (len(rows) // 2), strict=True):
        row["measures"]["logprob"] -= shipped.logit(row["measures"]) / shipped.weights["logprob"]
        row["scores"] = {"f1": float(right)}
    results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = refit(plan, models)
    assert not done.fitted
    assert "a fit to 40 answers to its questions is no better (log-loss 0.693 → 0.69" in done.why
    assert not own_confidence_path(plan).exists()


def test_what_a_build_kept_tells_what_it_is_worth(plan: Blueprint) -> None:
    own = OwnConfidence.read(plan)
    assert own
    assert own.answers == len(BOLTS)
    assert own.calibration.offset > 0
    assert own.log_loss[1] < own.log_loss[0]
    assert own.ece[1] < own.ece[0]


def test_building_again_asks_nobody_and_changes_nothing(plan: Blueprint, models: ModelStore) -> None:
    own, said = own_confidence_path(plan).read_bytes(), ask(plan, models, 13)
    results = {path: path.read_bytes() for path in plan.state.glob("evaluations/*/results.jsonl")}
    assert len(results) == 1, "answers are kept by what the specialist is without its correction"
    again = refit(plan, models)
    assert again == refit(plan, models, confidence=True)
    assert again.fitted
    assert own_confidence_path(plan).read_bytes() == own
    assert {path: path.read_bytes() for path in plan.state.glob("evaluations/*/results.jsonl")} == results
    assert (now := ask(plan, models, 13)).version == said.version
    assert now.confidence == said.confidence


def test_the_commands_tell_it(plan: Blueprint, run: Run) -> None:
    built = run("build", "--confidence", "-t", plan.root)
    assert built.code == 0
    assert "confidence: fitted to this team; 40 answers to its questions (log-loss " in built.out
    told = {finding.what: finding for finding in check_team(plan.root)}
    assert told["confidence"].found.startswith("fitted to 40 answers to the team's questions: ECE 0.")
    assert told["build"].status == "ok"
    own_confidence_path(plan).write_text("{")
    told = {finding.what: finding for finding in check_team(plan.root)}
    assert told["build"].found == "changed since: what its confidence was fitted on"
    assert told["build"].mend == f"metier build -t {plan.root}"


def test_ten_questions_change_nothing(
    works: tuple[Path, BuildReport, BuildReport], plan: Blueprint, models: ModelStore
) -> None:
    write(plan.folders[PRESS] / "evaluation.jsonl", {bolt: torque(bolt) for bolt in BOLTS[:10]})
    done = refit(plan, models, confidence=True)
    assert not done.fitted
    assert f"10 questions of its own are too few to fit it, {LEAST_ANSWERS} are needed" in done.why
    assert not own_confidence_path(plan).exists(), "of questions that are gone nothing is left"
    assert OwnConfidence.read(Blueprint.read(works[0])), "another team keeps its own"


def test_answers_that_are_all_right_or_all_wrong_fit_nothing(plan: Blueprint, models: ModelStore) -> None:
    held_out = plan.folders[PRESS] / "evaluation.jsonl"
    write(held_out, {bolt: torque(bolt) if knows(bolt) else "grey paste" for bolt in BOLTS})
    done = refit(plan, models, confidence=True)
    assert not done.fitted
    assert f"40 right and 0 wrong answers to its questions; {LEAST_ANSWERS} are needed, {LEAST_OF_EACH} of" in done.why
    write(held_out, dict.fromkeys(BOLTS, "nobody knows"))
    assert "0 right and 40 wrong" in refit(plan, models, confidence=True).why


def test_a_changed_document_keeps_the_confidence_until_there_are_new_answers(plan: Blueprint, models) -> None:
    own = own_confidence_path(plan).read_bytes()
    document = plan.folders[PRESS] / "documents" / "press.md"
    document.write_text(document.read_text() + "\nThe press is blue.\n")
    done = refit(plan, models)
    assert done.fitted
    assert "to earlier answers, 40 of its 40 questions have no answer yet" in str(done)
    assert own_confidence_path(plan).read_bytes() == own
    assert str(refit(plan, models, confidence=True)).startswith("fitted to this team; 40 answers")


def test_questions_that_cannot_be_read_hold_no_build_up(plan: Blueprint, models: ModelStore) -> None:
    own = own_confidence_path(plan).read_bytes()
    (plan.folders[PRESS] / "evaluation.jsonl").write_text('{"input": "how tight?"}\n')
    assert "its questions cannot be read: " in str(refit(plan, models))
    assert own_confidence_path(plan).read_bytes() == own
    with pytest.raises(ConfigError, match="without an 'answer'"):
        refit(plan, models, confidence=True)


def test_a_damaged_file_is_told_and_the_next_build_mends_it(plan: Blueprint, models: ModelStore) -> None:
    good = own_confidence_path(plan).read_bytes()
    for bad in (b"{", good.replace(b'"scale": ', b'"scale": -'), b""):
        own_confidence_path(plan).write_bytes(bad)
        with pytest.raises(StateError, match=r"confidence\.json is damaged") as told:
            ask(plan, models, 13)
        assert told.value.hint == f"metier build -t {plan.root}"
        assert changed_since_build(plan) == ["what its confidence was fitted on"]
        build(plan, store=models)
        assert own_confidence_path(plan).read_bytes() == good
        assert changed_since_build(plan) == []


def test_a_correction_of_another_shipped_model_is_not_used(plan: Blueprint, models: ModelStore) -> None:
    own = OwnConfidence.read(plan)
    assert own
    path = own_confidence_path(plan)
    path.write_text(own.model_copy(update={"corrects": "an older metier"}).model_dump_json())
    assert ask(plan, models, 13).kind == "abstain"
    assert changed_since_build(plan) == ["what its confidence was fitted on"]
    build(plan, store=models)
    assert OwnConfidence.read(plan) == own


def test_many_answers_find_scale_and_offset_few_move_them_little_and_none_leave_them() -> None:
    dice = np.random.default_rng(0)
    logits = dice.normal(-2, 1.5, 4000)
    right = (dice.random(4000) < 1 / (1 + np.exp(-(0.6 * logits + 1.5)))).astype(float)
    many, few = fit_calibration(logits, right), fit_calibration(logits[:3], right[:3])
    assert many.scale == pytest.approx(0.6, abs=0.1)
    assert many.offset == pytest.approx(1.5, abs=0.2)
    assert abs(few.scale - 1) + abs(few.offset) < abs(many.scale - 1) + abs(many.offset)
    assert fit_calibration(logits[:0], right[:0]) == AS_SHIPPED


@given(st.lists(st.tuples(st.floats(-30, 30), st.booleans()), max_size=60))
def test_whatever_the_answers_surer_stays_surer(rows: list[tuple[float, bool]]) -> None:
    found = fit_calibration(np.array([row[0] for row in rows]), np.array([float(row[1]) for row in rows]))
    assert found.scale > 0
    assert 0 <= found.probability(-1) <= found.probability(1) <= 1
