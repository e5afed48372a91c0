"""Training, evaluation and promotion as a workflow: what it does with a real registry when training is scripted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from metier.agents.cards import Blueprint
from metier.agents.team import Team
from metier.agents.upkeep import Upkeep
from metier.agents.workflows.execute import Workflow
from metier.agents.workflows.files import SHIPPED, read_plan
from metier.agents.workflows.plan import Plan
from metier.core.errors import ConfigError
from metier.core.models import ModelStore
from metier.specialists.engines.scripted import ScriptedEngine
from metier.tests.conftest import Run
from metier.tests.test_canary import NAME, challenge, make_team
from metier.tools.policy import Approve, Reject
from metier.tools.tool import tool


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, models: ModelStore) -> Path:
    return make_team(tmp_path_factory.mktemp("upkeep") / "team", models)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "team"))


@pytest.fixture
def opened(folder: Path, models: ModelStore) -> Callable[..., Any]:
    """Opens the workflow over the team; training adds a version without learning, evaluation says what it is told."""

    @contextmanager
    def open_one(*, better: bool = True, new: bool = True) -> Iterator[Workflow]:
        @tool(effect="write", untrusted_output=False, sensitive=False)
        def train(specialist: str, minutes: float) -> dict[str, Any]:
            """Train."""
            assert (specialist, minutes) == (NAME, 2.5)
            version = challenge(folder, 7) if new else ""
            return {"new": new, "version": version, "why": "trained" if new else "nothing is new"}

        @tool(effect="read", untrusted_output=False, sensitive=False)
        def evaluate(specialist: str) -> dict[str, Any]:
            """Evaluate."""
            waits = Blueprint.read(folder).registry.state(specialist).challenger
            return {"better": better, "version": waits, "why": "0.9 against 0.7" if better else "0.6 against 0.7"}

        with Team.load(folder, store=models, engine=ScriptedEngine(lambda messages: "0.8")) as team:
            yield Workflow(read_plan(SHIPPED / "retrain.yaml"), Upkeep(team, [train, evaluate]))

    return open_one


def asked(then: str) -> dict[str, Any]:
    return {"specialist": NAME, "minutes": 2.5, "then": then}


def test_a_better_version_is_put_in_use_once_a_person_agreed(opened: Callable[..., Any], folder: Path) -> None:
    registry = Blueprint.read(folder).registry
    before = registry.state(NAME)
    with opened() as workflow:
        run = workflow.run(asked("ask"), "r")
        assert run.waiting is not None
        challenger = registry.state(NAME).challenger
        assert run.waiting.action_requests[0].args["question"] == f"Use {challenger} of {NAME}? 0.9 against 0.7"
        assert (registry.state(NAME).champion, challenger) == (before.champion, registry.versions(NAME)[0])
    with opened() as workflow:  # days later, in another process
        done = workflow.resume("r", [Approve()])
    assert str(done.result) == f"{NAME}: {challenger} is in use: 0.9 against 0.7", done.trouble
    state = registry.state(NAME)
    assert (state.champion, state.challenger) == (challenger, None)
    assert (state.events[-1].did, state.events[-1].why) == ("promoted", "0.9 against 0.7")


@pytest.mark.parametrize(
    ("then", "better", "decision", "champion", "says"),
    [
        ("ask", True, Reject(), False, "is better and waits: 0.9 against 0.7"),
        ("promote", True, None, True, "is in use: 0.9 against 0.7"),
        ("hold", True, None, False, "is better and waits"),
        ("promote", False, None, False, "stays the challenger: 0.6 against 0.7"),
    ],
)
def test_what_becomes_of_a_version(
    opened: Callable[..., Any], folder: Path, then: str, better: bool, decision: Any, champion: bool, says: str
) -> None:
    registry = Blueprint.read(folder).registry
    with opened(better=better) as workflow:
        run = workflow.run(asked(then), "r")
        if decision:
            run = workflow.resume("r", [decision])
    assert (run.status, says in str(run.result)) == ("done", True), run.result
    newest = registry.versions(NAME)[0]
    assert (registry.state(NAME).champion == newest) is champion
    assert (registry.state(NAME).challenger == newest) is not champion


def test_nothing_happens_while_nothing_is_new(opened: Callable[..., Any], folder: Path) -> None:
    before = Blueprint.read(folder).registry.state(NAME)
    with opened(new=False) as workflow:
        run = workflow.run(asked("promote"))
    assert str(run.result) == f"{NAME}: nothing is new"
    assert run.results["evaluate"].kind == run.results["promote"].kind == "skipped"
    assert Blueprint.read(folder).registry.state(NAME) == before


def test_it_comes_with_metier_and_only_commands_have_its_tools(run: Run, copy: Path) -> None:
    shown = run("run", "retrain", "-t", copy, "-p", "specialist=leave", "--dry-run")
    assert (shown.code, "tool: metier.train" in shown.out, "tool: metier.promote" in shown.out) == (0, True, True)
    assert "retrain" in run("workflow", "list", "-t", copy).out
    assert run("workflow", "check", "retrain", "-t", copy).code == 0
    wrong = run("run", "retrain", "-t", copy, "-p", "specialist=nobody")
    assert (wrong.code, "unknown specialist 'nobody'" in wrong.out) == (1, True), wrong
    for step in ({"tool": "metier.promote"}, {"ask": "metier", "task": "x"}):
        plan = Plan.model_validate({"name": "p", "steps": {"one": step}})
        with Team.load(copy, engine=ScriptedEngine(lambda messages: "x")) as team, pytest.raises(ConfigError):
            Workflow(plan, team if "tool" in step else Upkeep(team))
