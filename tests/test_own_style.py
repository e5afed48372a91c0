"""A style of one's own is one object: a team answers with it, learns it, is measured by it; nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from metier import (
    Answer,
    Draft,
    ModelStore,
    Scoring,
    ScriptedEngine,
    Style,
    Team,
    TrainingExample,
    Work,
    build,
    evaluate,
    retrain,
)
from metier.agents.cards import Blueprint
from metier.specialists.evaluation.measures import Ground, Scores
from metier.specialists.evaluation.questions import Question
from metier.specialists.styles.style import Examples, Learner, lesson_prompt

CODES = {"pump": "KAPPA", "valve": "OMEGA", "fan": "DELTA", "belt": "SIGMA"}


def shout(work: Work) -> Draft:
    """What the model says, in capitals."""
    reply = work.ask(work.prompt())
    return Draft(text=reply.text.upper(), found=bool(reply.text), certainty=reply.certainty)


def shout_lessons(learner: Learner, examples: Examples) -> Iterator[TrainingExample]:
    """One lesson for each answered example."""
    for task, answer in examples.answered():
        yield TrainingExample(lesson_prompt(learner, task), answer.upper())


def loud(question: Question, answer: Answer, ground: Ground) -> Scores:
    """Is it in capitals?"""
    return {"loud": float(answer.text.isupper())}


SHOUT = Style(
    "shout",
    shout,
    instruction="Answer in capitals.",
    lessons=shout_lessons,
    scoring=Scoring(loud, "loud", ("loud",)),
)


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A team of one, whose card names the style above."""
    folder = tmp_path / "desk"
    (folder / "codes").mkdir(parents=True)
    (folder / "team.yaml").write_text("name: desk\nspecialists: [codes]\nguardrails: []\n")
    rows = [{"input": f"Code of the {thing}?", "answer": code.lower()} for thing, code in CODES.items()]
    (folder / "codes" / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "codes" / "held_out.jsonl").write_text(json.dumps({"input": "Which code has the lamp?", "answer": "PHI"}))
    (folder / "codes" / "specialist.yaml").write_text(
        "name: codes\ndescription: Knows the codes of the machines.\nstyle: metier.tests.test_own_style:SHOUT\n"
        "examples: [examples.jsonl]\nevaluation: held_out.jsonl\nabstain_below: 0.0\nmodel: {max_tokens: 8}\n"
    )
    return folder


def test_it_answers(team: Path, models: ModelStore) -> None:
    build(team, store=models)
    with Team.load(team, engine=ScriptedEngine(["kappa"]), store=models) as desk:
        assert desk.ask("Code of the pump?", specialist="codes").text == "KAPPA"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_it_learns_and_is_measured_by_its_own_metric(team: Path, models: ModelStore) -> None:
    made = retrain(team, "codes", then="canary", minutes=0.01, store=models)
    assert (made.promoted, made.on_trial) == (False, False)
    assert made.why.startswith("1 questions decide nothing")
    version = Blueprint.read(team).registry.find("codes", "challenger")
    assert (version.id, version.record["report"]["examples"]) == (made.version, len(CODES))
    report = evaluate(team, store=models)
    (summary,) = report.specialists
    assert (summary.main, [system.system for system in summary.systems]) == ("loud", ["base", "challenger"])
    assert all(system.metrics["loud"].n == 1 for system in summary.systems)
    assert all(result.text.isupper() for system in summary.systems for result in system.results if result.found)
    same = retrain(team, "codes", store=models)
    assert (same.version, same.promoted) == (None, False), "the same examples are not learnt twice"
