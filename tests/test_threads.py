"""Saved conversations: LangGraph's conformance suite on what we ship, copies, forks, pruning, another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from json import loads
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate

from metier.agents.team import Team
from metier.agents.workflows.execute import Workflow
from metier.agents.workflows.plan import PersonStep, Plan
from metier.core.errors import ConfigError, InputError, StateError
from metier.core.types import Brief
from metier.memory.open import open_checkpoints
from metier.memory.threads import ThreadSaver
from metier.serving.ask import read_decisions, visible
from metier.tests.conftest import Run
from metier.tests.shop import lines, open_shop
from metier.tools.policy import Action, ApprovalRequest, Approve, Edit, Reject, Respond

Open = Callable[[], ThreadSaver]


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens a new, empty store of each kind."""
    numbers = iter(range(1000))

    def make() -> ThreadSaver:
        folder = tmp_path / str(next(numbers))
        kind = request.getfixturevalue("postgres").database() if request.param == "postgres" else "sqlite"
        saver = open_checkpoints(kind, folder)
        assert saver is not None
        return saver

    return make


def test_the_conformance_suite_of_langgraph_passes(opened: Open) -> None:
    async def stores():
        saver = opened()
        try:
            yield saver
        finally:
            saver.close()

    report = asyncio.run(validate(checkpointer_test(name="metier")(stores)))
    assert {name: r.failures for name, r in report.results.items() if not r.passed} == {}
    assert sum(r.tests_passed for r in report.results.values()) >= 60
    assert not any(r.tests_skipped for r in report.results.values())


@pytest.fixture(params=["sqlite", "postgres"])
def team(request: pytest.FixtureRequest, tmp_path: Path):
    """The shop on each kind of store; a turn stays in the thread for two more."""
    kind = request.getfixturevalue("postgres").database() if request.param == "postgres" else "sqlite"
    with closing(open_shop(tmp_path, checkpoints=kind)) as opened:
        yield opened


def test_one_turn_at_a_time_on_each_store(team: Team) -> None:
    saver = team.threads.saver
    assert saver
    with saver.turn("t", 5), saver.turn("u", 5), pytest.raises(StateError, match="is at work"), saver.turn("t", 0.1):
        pass
    with saver.turn("t", 5):
        pass


def tasks(team: Team, thread: str) -> list[str]:
    return [m.task for m in reversed(team.threads.history(thread)) if m.standing == "answered"]


def test_going_back_in_a_conversation(team: Team, tmp_path: Path) -> None:
    for order in ("a", "b", "c"):
        team.ask(f"clerk: please book({order}) in for me", thread_id="t")
    second = next(m for m in team.threads.history("t") if m.standing == "answered" and m.turns == 2)
    fork = team.threads.fork("t", second.checkpoint)
    assert tasks(team, fork) == ["clerk: please book(a) in for me", "clerk: please book(b) in for me"]
    team.ask("clerk: please book(d) in for me", thread_id=fork)
    assert tasks(team, fork) == [
        "clerk: please book(a) in for me",
        "clerk: please book(b) in for me",
        "clerk: please book(d) in for me",
    ]
    assert tasks(team, "t") == [
        "clerk: please book(a) in for me",
        "clerk: please book(b) in for me",
        "clerk: please book(c) in for me",
    ]
    assert lines(tmp_path / "done.txt") == ["book a", "book b", "book c", "book d"]


def test_a_fork_in_the_middle_of_a_task_takes_its_steps_again(team: Team, tmp_path: Path) -> None:
    team.ask("clerk: look(a)", thread_id="t")
    middle = [m for m in team.threads.history("t") if m.standing == "unfinished"][-1]
    fork = team.threads.fork("t", middle.checkpoint, "again")
    assert team.resume(fork).text == "order a is open"
    assert lines(tmp_path / "looked.txt") == ["a", "a"]


def test_a_copy_is_the_same_and_lives_on_its_own(team: Team) -> None:
    team.ask("clerk: mail(a) then pay(a)", thread_id="t")
    team.threads.copy("t", "copy")
    assert [t.standing for t in team.threads.list()] == ["waiting", "waiting"]
    assert team.resume("copy", [Reject()]).thread_id == "copy"
    assert team.threads.unfinished("t") is not None
    with pytest.raises(StateError, match="already"):
        team.threads.copy("t", "copy")


def test_a_pruned_conversation_goes_on(team: Team) -> None:
    team.ask("clerk: look(a)", thread_id="t")
    team.ask("clerk: mail(b) then pay(b)", thread_id="waits")
    team.threads.prune()
    assert [len(team.threads.history(t)) for t in ("t", "waits")] == [1, 1]
    assert team.resume("waits", [Approve()]).kind == "answer"
    answer = team.ask("clerk: and look(a) once more", thread_id="t")
    assert answer.kind == "answer"
    assert team.threads.list()[0].turns == 2


def test_a_deleted_conversation_leaves_nothing(team: Team, tmp_path: Path) -> None:
    team.ask("clerk: book(zebra17)", thread_id="t")
    team.ask("clerk: book(other)", thread_id="t2")
    team.threads.delete("t")
    assert [t.id for t in team.threads.list()] == ["t2"]
    for path in (tmp_path / ".metier").glob("*.sqlite*"):
        assert b"zebra17" not in path.read_bytes(), path
    with pytest.raises(StateError, match="unknown thread 't'"):
        team.threads.delete("t")
    with pytest.raises(StateError, match="unknown thread 't'"):
        team.threads.history("t")


def test_the_thread_knows_what_each_specialist_was_told(team: Team) -> None:
    team.ask("porter: book(a)", thread_id="t")
    saver = team.threads.saver
    assert saver is not None
    last = saver.get_tuple({"configurable": {"thread_id": "t", "checkpoint_ns": ""}})
    assert last is not None
    seen = last.checkpoint["channel_values"]["seen"]
    assert [s["specialist"] for s in seen] == ["porter", "clerk"]
    assert Brief.model_validate(seen[1]["brief"]).sender == "porter"


def test_old_turns_leave_the_thread_and_can_still_be_referred_to(tmp_path: Path) -> None:
    """However long the conversation: what is saved stays small, and a question about its first turn finds it."""
    with closing(open_shop(tmp_path, memory={"window": 2})) as team:
        for order in ("a17", "b", "c", "d", "e"):
            team.ask(f"clerk: please have look({order}) done for me", thread_id="t")
        answer = team.ask("clerk: you said earlier how a17 stands; is it paid?", thread_id="t")
        assert team.threads.list()[0].turns == 6
        saver = team.threads.saver
        assert saver is not None
        last = saver.get_tuple({"configurable": {"thread_id": "t", "checkpoint_ns": ""}})
        assert last is not None
        values = last.checkpoint["channel_values"]
        assert len(values["messages"]) == 2 * 2 + 2
        window = values["seen"][0]["brief"]["window"]
        assert [t["text"] for t in window] == ["clerk: please have look(a17) done for me", "order a17 is open"]
        assert answer.touched == ("sensitive",)


def test_a_store_that_does_not_exist_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="oracle"):
        open_checkpoints("oracle", tmp_path)
    with pytest.raises(ConfigError, match="NOWHERE is not set"):
        open_checkpoints("env:NOWHERE", tmp_path)
    monkeypatch.setenv("SOMEWHERE", "none")
    assert open_checkpoints("env:SOMEWHERE", tmp_path) is None
    (tmp_path / "threads.sqlite").write_text("no database, but long enough to be looked at" * 100)
    with pytest.raises(StateError, match="move that file away"):
        open_checkpoints("sqlite", tmp_path)


REQUEST = ApprovalRequest.model_validate(
    {
        "action_requests": [{"name": "pay", "args": {"order": "7"}}, {"name": "send", "args": {}}],
        "review_configs": [{"action_name": "pay"}, {"action_name": "send"}],
    }
)


def test_decisions_in_words() -> None:
    made = read_decisions(['edit:{"order": "8"}', "respond: told by telephone"], REQUEST)
    edited = Edit(edited_action=Action(name="pay", args={"order": "8"}))
    assert made == [edited, Respond(message="told by telephone")]
    assert read_decisions(["approve"], REQUEST) == [Approve(), Approve()]
    assert read_decisions(["approve", "reject:too much"], REQUEST) == [Approve(), Reject(message="too much")]


@pytest.mark.parametrize("words", [["maybe"], ["respond"], ["edit:{"], ["edit:[1]"], ["approve"] * 3, ["reject:no"]])
def test_what_is_no_decision_is_told(words: list[str]) -> None:
    with pytest.raises(InputError):
        read_decisions(words, REQUEST)


def test_what_is_shown_to_a_person_cannot_deceive() -> None:
    assert visible("pay \x1b[2J\u202e7 eur") == "pay \\u001b[2J\\u202e7 eur"


def test_the_command_line_on_threads(run: Run, tmp_path: Path) -> None:
    with closing(open_shop(tmp_path)) as team:
        team.ask("clerk: look(a)", thread_id="t")
        team.ask("clerk: mail(b) then pay(b)", thread_id="waits")
        Workflow(Plan.of("week", sure=PersonStep(ask_person="Send it?", choices=("send", "hold"))), team).run(
            run_id="w1"
        )
    (tmp_path / "team.yaml").write_text("name: shop\nspecialists: [clerk]\n")
    (tmp_path / "clerk").mkdir()
    (tmp_path / "clerk" / "specialist.yaml").write_text("name: clerk\ndescription: The clerk of the shop.\n")

    def done(*words: str, code: int = 0) -> Any:
        ran = run(*words, "-t", tmp_path)
        assert ran.code == code, ran.err
        return loads(ran.out) if "--json" in words else ran.out

    assert [(t["id"], t["standing"]) for t in done("threads", "list", "--json")] == [
        ("waits", "waiting"),
        ("t", "answered"),
    ]
    assert [(w.get("thread"), w.get("run"), w["action_requests"][0]["name"]) for w in done("approve", "--json")] == [
        ("waits", None, "pay"),
        (None, "w1", "ask_person"),
    ]
    assert "w1 · workflow week" in done("approve")
    assert "Send it?" in done("approve", "w1", code=6)
    assert "nothing waits under the name 'w2'" in run("approve", "w2", "-t", tmp_path).err
    assert done("approve", "waits", "--json", code=6)["action_requests"][0]["args"] == {"order": "b"}
    assert "outside" in done("approve", "waits", code=6)
    moments = [m["checkpoint"] for m in done("threads", "show", "t", "--json")]
    shown = done("threads", "show", "t")
    assert [line.strip() for line in shown.splitlines()][1:3] == ["› clerk: look(a)", "order a is open"]
    assert [moment for moment in moments if moment in shown] == moments[:1]
    assert all(moment in done("threads", "show", "t", "--moments") for moment in moments)
    moment = moments[0]
    assert done("threads", "fork", "t", moment, "--to", "new").strip() == "new"
    assert done("threads", "copy", "t", "copy").strip() == "copy"
    done("threads", "prune")
    assert len(done("threads", "show", "waits", "--json")) == 1
    done("threads", "delete", "new")
    assert {t["id"] for t in done("threads", "list", "--json")} == {"t", "waits", "copy"}
