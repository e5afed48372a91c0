"""Kinds of trouble with what a team keeps: each test is one kind."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from metier.agents.cards import Blueprint
from metier.agents.erasure import Scope, erase, export
from metier.core.errors import InputError, StateError
from metier.core.types import Answer, ToolCall
from metier.memory.store import Owner
from metier.tests.shop import Open, lines, open_shop, tools
from metier.tools.policy import Approve, Respond
from metier.tools.runner import Ledger, ToolRunner
from metier.tools.tool import ToolContext


def settled(calls: list[Callable[[], Answer]]) -> list[Answer | StateError]:
    """What becomes of calls that are made at once."""
    together = threading.Barrier(len(calls))

    def one(call: Callable[[], Answer]) -> Answer | StateError:
        together.wait()
        try:
            return call()
        except StateError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


# Several callers at once


def test_turns_of_one_thread_come_one_after_the_other(shop: Open, tmp_path: Path) -> None:
    teams = [shop(), shop()]
    calls = [lambda n=n: teams[n % 2].ask(f"clerk: look({n}) then book({n})", thread_id="same") for n in range(4)]
    answers = settled(calls)
    assert [a.text for a in answers if isinstance(a, Answer)] == [f"order {n} is open\ndid book {n}" for n in range(4)]
    (kept,) = teams[0].threads.list()
    assert (kept.turns, kept.standing) == (4, "answered")
    assert sorted(lines(tmp_path / "done.txt")) == [f"book {n}" for n in range(4)]


def test_who_waits_too_long_for_a_turn_is_told(shop: Open) -> None:
    one, other = shop().threads.saver, shop().threads.saver
    assert one
    assert other
    with one.turn("t", 1.0), other.turn("u", 1.0):
        for saver in (one, other):
            with pytest.raises(StateError, match="thread 't' is at work on another task"), saver.turn("t", 0.1):
                pass
    with other.turn("t", 0.1):
        pass


def test_only_one_of_two_decisions_counts_and_the_other_is_told(shop: Open, tmp_path: Path) -> None:
    teams = [shop(), shop()]
    assert teams[0].ask("clerk: mail(7) then pay(7)", thread_id="t").kind == "waiting"
    answers = settled([lambda team=team: team.resume("t", [Approve()]) for team in teams])
    (answer,) = (a for a in answers if isinstance(a, Answer))
    (loser,) = (a for a in answers if isinstance(a, StateError))
    assert answer.kind == "answer"
    assert "somebody else went on with thread 't'" in loser.message or "its last task was answered" in loser.message
    assert len(lines(tmp_path / "done.txt")) == 1
    with pytest.raises(StateError, match="nothing is unfinished in thread 't': its last task was answered"):
        teams[0].resume("t", [Approve()])
    with pytest.raises(StateError, match="there is no such thread"):
        teams[0].resume("nobody", [Approve()])


# Odd text at every door

ODD = ["caf\ud83d", "\ud83d\ude00", "a\0b", "\udcff\udcfe", "\u202eabc", "x" * 40_000, "\n\t ", ""]


@pytest.mark.parametrize("text", ODD)
def test_any_task_leaves_a_thread_that_can_be_used(text: str, shop: Open) -> None:
    team = shop()
    answer = team.ask(f"clerk: look(7) {text}", thread_id="t")
    assert answer.kind in ("answer", "abstain")
    answer.model_dump_json()
    team.route(text)
    assert team.ask("clerk: look(8)", thread_id="t").text == "order 8 is open"
    assert [(t.id, t.turns) for t in team.threads.list()] == [("t", 2)]


@pytest.mark.parametrize("name", ["caf\ud83d", "a\0b", "x" * 501])
def test_names_that_cannot_be_saved_are_refused(name: str, shop: Open) -> None:
    team = shop()
    doors: list[dict[str, Any]] = [{"thread_id": name}, {"user": name}, {"thread_id": "t", "tenant": name}]
    for more in doors:
        with pytest.raises(InputError, match=r"the name of a (thread|user|tenant) has"):
            team.ask("clerk: look(7)", **more)
    team.ask("clerk: look(7)", thread_id="t")
    for door in (team.threads.history, team.threads.find, team.resume, lambda odd: team.threads.copy("t", odd)):
        with pytest.raises(InputError):
            door(name)


def test_odd_text_of_a_person_who_decides_or_corrects(shop: Open) -> None:
    team = shop()
    assert team.ask("clerk: mail(7) then pay(7)", thread_id="t").kind == "waiting"
    answer = team.resume("t", [Respond(message="paid by h\ud83dand\0")])
    assert "paid by h\ufffdand\ufffd" in answer.text
    note = team.feedback("correction", "caf\ud83d", thread_id="t", specialist="clerk")
    assert note.correction == "caf\ufffd"


# Tasks outside of conversations


def test_a_single_task_leaves_no_thread_but_can_be_judged(shop: Open, tmp_path: Path) -> None:
    team = shop()
    answer = team.ask("clerk: look(7) then book(7)")
    assert answer.text == "order 7 is open\ndid book 7"
    assert team.threads.list() == []
    assert team.threads.saver
    assert team.threads.saver.thread_ids() == []
    note = shop().feedback("good")
    assert (note.task, note.answer, note.thread_id) == ("clerk: look(7) then book(7)", answer.text, answer.thread_id)
    assert team.feedback("bad", thread_id=answer.thread_id).run_id == answer.run_id
    team.ask("clerk: look(8)", thread_id="kept")
    assert team.feedback("good").thread_id == "kept"


def test_a_single_task_is_erased_with_its_person(shop: Open, tmp_path: Path) -> None:
    (tmp_path / "clerk").mkdir()
    (tmp_path / "clerk" / "specialist.yaml").write_text("name: clerk\ndescription: The clerk of the shop.\n")
    (tmp_path / "team.yaml").write_text("name: shop\nspecialists: [clerk]\n")
    team, plan = shop(), Blueprint.read(tmp_path)
    team.ask("clerk: look(7)", user="ada")
    team.ask("clerk: look(8)", user="bo")
    assert [c.user for c in export(plan, Scope(Owner("bo"))).threads] == ["bo"]
    team.close()
    erase(plan, Scope(Owner("ada")))
    assert shop().threads.last_single() is not None
    shop().close()
    erase(plan, Scope(Owner("bo")))
    assert shop().threads.last_single() is None


def test_a_single_task_that_waits_is_kept_until_it_is_decided(shop: Open) -> None:
    team = shop()
    waiting = team.ask("clerk: mail(7) then pay(7)")
    assert [t.standing for t in team.threads.list()] == ["waiting"]
    assert shop().resume(waiting.thread_id, [Approve()]).kind == "answer"
    assert team.threads.list() == []


# Disks


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing in the folder can be written: not by its owner, nor by root, who becomes nobody for a while."""
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions as in POSIX")
def test_a_team_on_a_read_only_disk_answers(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        with closing(open_shop(folder)) as team:
            team.ask("clerk: look(6)", thread_id="t")
        with sqlite3.connect(folder / ".metier" / "threads.sqlite") as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with read_only(folder), closing(open_shop(folder)) as team:
            assert "cannot be written: what is kept there lasts only as long as this process" in caplog.text
            answer = team.ask("clerk: mail(7)", thread_id="t")
            assert answer.text.startswith("About 7.")
            assert team.ask("clerk: mail(8)").kind == "answer"
            assert [(t.id, t.turns) for t in team.threads.list()] == [("t", 2)]
        with closing(open_shop(folder)) as team:
            assert [(t.id, t.turns) for t in team.threads.list()] == [("t", 1)]


def test_a_disk_that_is_full_is_said_and_the_task_goes_on_later(shop: Open) -> None:
    team = shop()
    team.ask("clerk: look(6)", thread_id="t")
    connection: sqlite3.Connection = team.threads.saver.conn  # type: ignore
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match="the disk is full: this turn could not be saved"):
        team.ask(f"clerk: look(7) {'long ' * 4000}", thread_id="t")
    connection.execute("PRAGMA max_page_count = 1000000")
    assert team.ask("clerk: look(8)", thread_id="t").text == "order 8 is open"


def test_an_effect_that_cannot_be_noted_is_told_as_done(tmp_path: Path) -> None:
    """The disk is full between an effect and its note: it must not be told as failed."""

    class FullLedger(Ledger):
        def finish(self, key: str, result: str) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    runner = ToolRunner(tools(ToolContext(root=tmp_path)), ledger=FullLedger())
    done = runner.run(ToolCall(name="book", arguments={"order": "7"}), key="k")
    assert done.error is None
    assert done.result.startswith("did book 7\n(It is done, but that could not be noted")
