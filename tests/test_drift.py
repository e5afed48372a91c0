"""What is told when questions, answers or documents are no longer what they were, and how seldom it is told wrongly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest

from metier.agents.answer_log import AnswerNumbers
from metier.agents.drift import (
    FALSE_ALARM,
    REFERENCE,
    Drift,
    accept_present,
    detect,
    drifts,
    first_alarm,
    operation_figures,
    shares,
    watch,
)
from metier.agents.team import Team
from metier.core.embedding import Vectors
from metier.core.files import read_jsonl
from metier.core.onnx_embedder import OnnxEmbedder
from metier.router.router import everyday
from metier.specialists.engines.scripted import ScriptedEngine
from metier.tests.conftest import Run
from metier.tests.desk import served
from metier.tests.house import ROOT
from metier.tests.test_canary import NAME, make_team

FIELDS = ("maintenance", "safety", "stock", "contracts", "figures")


@pytest.fixture(scope="module")
def plant(embedder: OnnxEmbedder) -> tuple[list[str], list[str], Vectors]:
    """What people ask in the plant, of which field it is, and the vectors."""
    rows = [
        (row["input"], field)
        for field in FIELDS
        for name in ("examples", "evaluation")
        for row in read_jsonl(ROOT / "examples" / "plant" / field / f"{name}.jsonl")
    ]
    return [text for text, _ in rows], [field for _, field in rows], embedder.embed([text for text, _ in rows])


@pytest.fixture(scope="module")
def elsewhere(embedder: OnnxEmbedder) -> tuple[list[str], Vectors]:
    """What people ask who are not in the plant."""
    texts = everyday()
    return texts, embedder.embed(texts)


def turn(number: int, vector: Vectors, **more: object) -> AnswerNumbers:
    values = {"task": f"task {number}", "label": "stock", "answered": True, "confidence": 0.8, **more}
    return AnswerNumbers(id=f"run {number}", at=number * 60.0, vector=vector, **values)  # pyright: ignore[reportArgumentType]


def told(turns: Sequence[AnswerNumbers], examples: Vectors) -> dict[str, Drift]:
    return {one.what: one for one in drifts(turns, FIELDS, examples)}


def test_another_topic_is_told_within_fifty_questions_and_nothing_before(plant, elsewhere) -> None:
    texts, _, vectors = plant
    foreign, other = elsewhere
    late = wrong = 0
    for seed in range(20):
        dice = np.random.default_rng(seed)
        order, new = dice.permutation(len(texts)), dice.permutation(len(foreign))[:50]
        examples, before = vectors[order[:200]], order[200:450]
        turns = [turn(n, vectors[row], task=texts[row]) for n, row in enumerate(before)]
        wrong += told(turns, examples)["questions"].drifted
        turns += [turn(250 + n, other[row], task=foreign[row]) for n, row in enumerate(new)]
        found = told(turns, examples)["questions"]
        late += not found.drifted
        if found.drifted:
            assert set(found.examples) <= set(foreign), "the questions that are new are shown"
            assert 0 < found.after <= 50
    assert (late, wrong) == (0, 0)


def test_one_field_that_takes_over_is_told(plant) -> None:
    texts, fields, vectors = plant
    order = np.random.default_rng(0).permutation(len(texts))
    turns = [turn(n, vectors[row], label=fields[row]) for n, row in enumerate(order[:200])]
    assert not any(one.drifted for one in told(turns, vectors[order[200:]]).values())
    turns += [turn(200 + n, vectors[order[n]], label="safety") for n in range(30)]
    found = told(turns, vectors[order[200:]])
    assert found["fields"].drifted
    assert found["fields"].text.startswith("safety gets ")
    assert found["fields"].since == "1970-01-01T03:20:00+00:00"
    assert not found["questions"].drifted


def test_less_sure_answers_and_more_silence_are_told_and_better_ones_are_not(plant) -> None:
    _, _, vectors = plant
    dice = np.random.default_rng(1)

    def turns(worse: bool, silent: float) -> list[AnswerNumbers]:
        before = [turn(n, vectors[n], confidence=dice.beta(8, 2), answered=n % 10 > 0) for n in range(200)]
        sure = [dice.beta(4, 5) if worse else dice.beta(20, 2) for _ in range(60)]
        return before + [
            turn(200 + n, vectors[n], confidence=sure[n], answered=dice.random() >= silent) for n in range(60)
        ]

    assert told(turns(worse=True, silent=0.1), vectors)["confidence"].text.startswith("answers are ")
    assert told(turns(worse=False, silent=0.6), vectors)["abstentions"].drifted
    quiet = told(turns(worse=False, silent=0.0), vectors)
    assert not quiet["confidence"].drifted
    assert not quiet["abstentions"].drifted


def test_false_alarms_are_fewer_than_one_in_a_thousand_turns(plant) -> None:
    """All four detectors on streams in which nothing changes: drawn from the same questions again and again."""
    texts, fields, vectors = plant
    alarms = turns_seen = 0
    for seed in range(12):
        dice = np.random.default_rng(seed)
        drawn = dice.integers(0, len(texts), 500)
        turns = [
            turn(n, vectors[row], label=fields[row], confidence=dice.beta(6, 2), answered=dice.random() > 0.1)
            for n, row in enumerate(drawn)
        ]
        turns = [one._replace(id=f"{seed}/{one.id}") for one in turns]
        alarms += sum(one.drifted for one in told(turns, vectors[:100]).values())
        turns_seen += len(turns)
    assert alarms <= turns_seen / 1000
    dice = np.random.default_rng(0)
    over = sum(first_alarm(dice.random(2000)) is not None for _ in range(100))
    assert over <= 100 * 2000 * FALSE_ALARM


def test_shares_are_uniform_and_break_ties_by_chance() -> None:
    assert shares([1, 3, 2, 4], [1, 1, 1, 1]) == pytest.approx([1, 1 / 2, 2 / 3, 1 / 4])
    assert shares([5, 5, 5, 5], [0.5] * 4) == pytest.approx([0.5] * 4)
    found = shares(list(np.random.default_rng(0).normal(size=4000)), [1.0] * 4000)
    assert abs(found.mean() - 0.5) < 0.02
    assert np.quantile(found, 0.1) == pytest.approx(0.1, abs=0.02)


def test_the_detector_grows_on_average_by_one_a_turn_while_nothing_changes() -> None:
    dice = np.random.default_rng(0)
    ends = [detect(np.maximum(dice.random(20), 0.02))[-1] for _ in range(4000)]
    assert np.mean(ends) < 22
    assert detect(np.full(30, 0.02))[-1] > 1 / FALSE_ALARM


def test_nothing_is_said_of_nothing(plant) -> None:
    _, _, vectors = plant
    assert not any(one.drifted for one in drifts([], FIELDS, vectors))
    few = [turn(n, vectors[n]) for n in range(REFERENCE)]
    assert not any(one.drifted for one in drifts(few, FIELDS, vectors))


# A team.


@pytest.fixture(scope="module")
def asked(tmp_path_factory, models, plant, elsewhere) -> Path:
    """A team that was asked what people ask in the plant, and then what others ask."""
    folder = make_team(tmp_path_factory.mktemp("asked") / "team", models)
    order = np.random.default_rng(0).permutation(len(plant[0]))[:140]
    with Team.load(folder, store=models, engine=ScriptedEngine(lambda messages: "0.8")) as team:
        for text in [*(plant[0][row] for row in order), *elsewhere[0][:30]]:
            team.ask(text, specialist=NAME)
    return folder


@pytest.fixture
def folder(asked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(asked, tmp_path / "team"))


def test_the_command_tells_what_drifted_by_its_exit_code(run: Run, folder, elsewhere):
    code, out, err = run("watch", "-t", folder, "--json")
    assert code == 1, err
    found = {one["what"]: one for one in json.loads(out)}
    assert [name for name, one in found.items() if one["drifted"]] == ["questions"]
    assert set(found["questions"]["examples"]) <= set(elsewhere[0])
    assert found["questions"]["seen"] == 170
    code, out, _ = run("watch", "-t", folder)
    assert code == 1
    assert "! questions" in out
    assert run("watch", "-t", folder, "--accept").code == 0
    code, out, _ = run("watch", "-t", folder)
    assert (code, "✓ questions" in out) == (0, True)


def test_changed_documents_are_told(run: Run, copy):
    assert run("watch", "-t", copy).code == 0
    (copy / "travel" / "documents" / "new.md").write_text("# Bicycles\n\nNone.\n")
    code, out, _ = run("watch", "-t", copy, "--json")
    assert code == 1
    assert {one["what"]: one["examples"] for one in json.loads(out)}["documents"] == ["travel/documents/new.md"]


def test_a_monitor_gets_numbers_and_the_page_the_same(folder, models, embedder):
    with Team.load(folder, store=models, engine=ScriptedEngine(lambda messages: "0.8")) as team:
        figures = {(name, what): n for name, what, n in operation_figures(team.blueprint, team.answers, team.router)}
        assert figures["metier_drift", "questions"] == 1.0
        assert figures["metier_drift", "confidence"] == 0.0
        assert figures["metier_watched", "fields"] == 170.0
        with served(team) as address:
            shown = httpx.get(f"{address}/api/operation").json()
            scraped = httpx.get(f"{address}/metrics").text
        assert 'metier_drift{what="questions"} 1.0' in scraped
        assert 'metier_watched{what="fields"} 170.0' in scraped
        assert [one["what"] for one in shown["drift"] if one["drifted"]] == ["questions"]
        assert shown["trials"] == []
        accept_present(team.blueprint)
        assert not any(one.drifted for one in watch(team.blueprint, team.answers, team.router))


def test_a_team_that_keeps_no_log_is_only_watched_by_its_documents(run: Run, folder, models):
    (folder / "team.yaml").write_text((folder / "team.yaml").read_text() + "router: {log: false}\n")
    with Team.load(folder, store=models, engine=ScriptedEngine(lambda messages: "0.8")) as team:
        team.ask("Where is the printer?", specialist=NAME)
        assert team.answers is None
    found = json.loads(run("watch", "-t", folder, "--json").out)
    assert [one["seen"] for one in found if one["what"] != "documents"] == [0, 0, 0, 0]
