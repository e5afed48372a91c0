"""What is older than the card allows goes from every place, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from metier.agents.answer_log import log_records
from metier.agents.assemble import decisions
from metier.agents.attachments import Attachments
from metier.agents.cards import Blueprint
from metier.agents.feedback import open_inbox
from metier.agents.retention import Forgotten, retain
from metier.agents.team import Team
from metier.memory.store import Owner
from metier.specialists.engines.scripted import ScriptedEngine
from metier.tests.conftest import Run
from metier.tests.desk import served
from metier.tests.patience import until
from metier.tests.test_canary import NAME, make_team

DAY = 86_400.0
LIMITS = "retention: {threads: 30, logs: 60, feedback: 90, traces: 10}\n"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, models, embedder) -> Path:
    """A team that was used today: a conversation, a single task, feedback, a file, a correction of a route."""
    folder = make_team(tmp_path_factory.mktemp("used") / "team", models, more=LIMITS)
    with Team.load(folder, store=models, engine=ScriptedEngine(lambda messages: "0.8")) as team:
        team.ask("Where is the Zorvex?", thread_id="a")
        team.ask("Who has the Glimmerbox?", thread_id="a")
        team.feedback("correction", "Quibbleton", thread_id="a")
        team.ask("When does the office open?")
        team.attachments.add("of a file alone", Owner(None), "note.md", b"# Snorkwort\n\nIt is green.\n")
    log = decisions(Blueprint.read(folder))
    log.correct(next(line.id for line in log.decisions() if "Glimmerbox" in line.text), NAME)
    records = log_records(Blueprint.read(folder))
    assert records
    records.put("asked", "r1", Owner(None), {"task": "Wimblat"})
    records.put("asked", "r2", Owner(None), {"task": "still open"}, open=True)
    records.close()
    return folder


@pytest.fixture
def plan(used: Path, tmp_path: Path) -> Blueprint:
    return Blueprint.read(shutil.copytree(used, tmp_path / "team"))


def after(plan: Blueprint, days: float, *, dry: bool = False) -> Forgotten:
    return retain(plan, dry=dry, now=time.time() + days * DAY)


def test_each_place_has_its_own_term(plan: Blueprint) -> None:
    assert after(plan, 9) == Forgotten()
    assert after(plan, 11) == Forgotten(traces=1)
    assert after(plan, 31) == Forgotten(threads=3), "the conversation, the single task, the file alone"
    gone = after(plan, 61)
    assert (gone.decisions, gone.answers, gone.router_fitted) == (3, 1, True), "two went with their conversation"
    assert after(plan, 91) == Forgotten(notes=1)
    assert after(plan, 365) == Forgotten()
    records = log_records(plan)
    assert records
    assert [record.id for record in records.of(None)] == ["r2"], "what is to be done yet is not forgotten"
    records.close()


def test_what_is_forgotten_is_gone(plan: Blueprint, models) -> None:
    after(plan, 100)
    words = (b"Zorvex", b"Glimmerbox", b"Quibbleton", b"Snorkwort", b"Wimblat")
    texts = [path.read_bytes() for path in plan.state.rglob("*") if path.is_file()]
    assert [word for word in words if any(word.lower() in text.lower() for text in texts)] == []
    with Team.load(plan, store=models, engine=ScriptedEngine(lambda messages: "0.8")) as team:
        assert team.ask("When does the office open?", specialist=NAME, thread_id="a").text == "0.8"


def test_counting_forgets_nothing(plan: Blueprint) -> None:
    would = after(plan, 100, dry=True)
    assert (would.threads, would.decisions, would.answers, would.notes, would.traces) == (3, 3, 3, 1, 1)
    assert len(list(decisions(plan).decisions())) == 3
    assert len(open_inbox(plan).notes(NAME)) == 1
    assert Attachments(plan).names("of a file alone") == ["note.md"]
    assert after(plan, 100).threads == 3


def test_without_a_term_everything_stays(plan: Blueprint) -> None:
    card = plan.root / "team.yaml"
    card.write_text(card.read_text().replace(LIMITS, ""))
    assert after(Blueprint.read(plan.root), 10_000) == Forgotten()


def test_the_command(run: Run, plan: Blueprint) -> None:
    for path in plan.state.glob("attachments/*/owner.json"):
        os.utime(path, (0, 0))
    code, out, err = run("retention", "run", "-t", plan.root, "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["threads"] == 1
    assert run("retention", "run", "-t", plan.root).out == "forgotten: 1 threads\n"
    assert "nothing" in run("retention", "run", "-t", plan.root).out


def test_a_server_forgets_by_itself(plan: Blueprint, models) -> None:
    for path in plan.state.glob("attachments/*/owner.json"):
        os.utime(path, (0, 0))
    assert [thread for thread, _ in Attachments(plan).threads()] == ["of a file alone"]
    with Team.load(plan, store=models, engine=ScriptedEngine(lambda messages: "0.8")) as team, served(team):
        until(lambda: not list(Attachments(plan).threads()))
