# pyright: reportOptionalMemberAccess=false
"""Records and effects in a SQLite file and in PostgreSQL: one contract; who holds what; what is carried over."""

from __future__ import annotations

import threading
from contextlib import closing

import psycopg
import pytest

from metier.core.errors import StateError
from metier.memory.open import open_records, open_tables
from metier.memory.postgres import PostgresThreads
from metier.memory.records import Hold, Records
from metier.memory.store import Owner
from metier.tests.patience import PATIENCE, until
from metier.tools.runner import EFFECTS_SCHEMA, Ledger

ME, SHE = Owner("me"), Owner("she", "acme")
A, B, ELSE = Hold("team/a", 60), Hold("team/b", 60), Hold("other/c", 60)


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request) -> str:
    return request.getfixturevalue("postgres").database() if request.param == "postgresql" else "sqlite"


@pytest.fixture
def records(kind, tmp_path):
    with closing(open_records(kind, tmp_path)) as opened:
        yield opened


def test_records_are_kept_listed_and_erased(records):
    records.put("run", "1", ME, {"n": "ü", "%": "?"}, thread_id="t", open=True)
    records.put("run", "2", SHE, {"n": 2}, thread_id="t")
    records.put("run", "3", Owner(None), {"n": 3}, thread_id="u")
    assert records.get("run", "1").body == {"n": "ü", "%": "?"}
    assert [r.id for r in records.list("run", SHE)] == ["2"]
    assert [r.id for r in records.list("run", Owner(None))] == ["3"]
    assert {r.id for r in records.list("run", thread_id="t", open=False)} == {"2"}
    assert {r.id for r in records.of(None, "t")} == {"1", "2"}
    assert records.erase(SHE) == 1
    records.forget_before(4e9)
    assert {r.id for r in records.of(None)} == {"1"}, "what is open stays"


def test_one_holds_a_record_until_it_is_gone(records):
    assert records.put("run", "1", ME, {"by": "a"}, open=True, hold=A)
    assert not records.put("run", "1", ME, {"by": "b"}, open=True, hold=B), "a works on it"
    assert records.take("run", B, 9) == []
    assert records.take("run", B, 9, gone=["team/else"]) == []
    assert [r.body["by"] for r in records.take("run", B, 9, gone=["team/a"])] == ["a"]
    assert (records.held("run", "team/a"), records.held("run", "team/b")) == (set(), {"1"})
    assert not records.put("run", "1", ME, {"by": "a"}, hold=A), "who lost it changes nothing any more"
    assert records.put("run", "1", ME, {"by": "b"}, hold=B)
    assert records.take("run", A, 9) == [], "it is closed"
    assert records.put("run", "1", ME, {"by": "a again"}, open=True, hold=A), "whoever opens it again holds it"


def test_what_a_holder_leaves_or_lets_lapse_is_for_others_of_its_team(records):
    for number in range(4):
        records.put("run", str(number), ME, {}, open=True, hold=A)
    records.leave("team/a")
    assert records.take("run", ELSE, 9) == []
    assert [r.id for r in records.take("run", B, 3)] == ["0", "1", "2"], "the oldest, and no more than asked for"
    records.put("run", "9", ME, {}, open=True, hold=Hold("team/a", -1))
    records.renew(A)
    assert records.take("run", B, 9) == [], "it said in time that it lives"
    records.put("run", "10", ME, {}, open=True)
    assert [r.id for r in records.take("run", B, 9)] == ["10"], "an earlier version held nothing"


def test_of_many_who_take_at_once_each_gets_its_own(kind, tmp_path, records):
    for number in range(40):
        records.put("run", str(number), ME, {}, open=True)
    taken: dict[str, list[str]] = {}

    def take(name: str) -> None:
        with closing(open_records(kind, tmp_path)) as own:
            taken[name] = [r.id for _ in range(4) for r in own.take("run", Hold(f"team/{name}", 60), 4)]

    threads = [threading.Thread(target=take, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [id for ids in taken.values() for id in ids]
    assert len(every) == len(set(every))
    assert len(every) >= 16


def test_a_key_and_its_run_are_new_together_or_not_at_all(records):
    run = ("run", "1", ME, {"n": 1}, "t", A)
    assert records.put_once("key", "k", ME, {"run": "1"}, [run])
    assert not records.put_once("key", "k", ME, {"run": "2"}, [("run", "2", ME, {"n": 2}, "t", B)])
    assert records.get("run", "2") is None
    assert records.get("key", "k").body == {"run": "1"}
    assert records.held("run", "team/a") == {"1"}


def test_effects_are_claimed_once(kind, tmp_path):
    place = open_tables(kind, tmp_path / "effects.sqlite", [EFFECTS_SCHEMA], ["effects"])
    with (
        closing(Ledger(place)) as one,
        closing(Ledger(open_tables(kind, tmp_path / "effects.sqlite", [EFFECTS_SCHEMA], ["effects"]))) as two,
    ):
        assert one.begin("t\nbook") is None
        assert two.begin("t\nbook").state == "begun"
        one.finish("t\nbook", "done it")
        assert two.find("t\nbook").result == "done it"
        assert two.begin("t\nsend") is None
        two.release("t\nsend")
        assert one.begin("t\nsend") is None
        assert one.erase("t\n") == 2
        assert two.find("t\nbook") is None


def test_what_a_file_holds_goes_along_to_postgresql(postgres, tmp_path):
    with closing(Records(tmp_path / "requests.sqlite")) as before:
        before.put("thread", "t", ME, {"metadata": {"title": "Ärger"}}, thread_id="t")
        before.put("run", "1", SHE, {"n": 1}, open=True)
    with closing(Ledger(tmp_path / "effects.sqlite")) as before:
        before.begin("t\npay")
        before.finish("t\npay", "paid")
    url = postgres.database()
    for _ in range(2):
        with closing(open_records(url, tmp_path)) as records:
            assert records.get("thread", "t").body["metadata"]["title"] == "Ärger"
            assert [(r.id, r.owner) for r in records.list("run", open=True)] == [("1", SHE)]
        with closing(Ledger(open_tables(url, tmp_path / "effects.sqlite", [EFFECTS_SCHEMA], ["effects"]))) as ledger:
            assert ledger.find("t\npay").result == "paid"
        assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_restarted_is_not_noticed(postgres, tmp_path):
    with closing(open_records(postgres.database(), tmp_path)) as records:
        records.put("run", "1", ME, {"n": 1})
        postgres.restart("immediate")
        assert records.get("run", "1").body == {"n": 1}
        postgres.restart("fast")
        assert records.put("run", "2", ME, {"n": 2})


def test_turns_come_in_the_order_of_who_asked(postgres):
    """Whoever asks again and again does not keep others out."""
    url, order, entered = postgres.database(), [], threading.Event()

    def turns(name: str, count: int) -> None:
        with closing(PostgresThreads(url)) as saver:
            for _ in range(count):
                with saver.turn("t", PATIENCE):
                    order.append(name)
                    entered.set()
                    if len(order) == 1:
                        until(others_wait)

    def others_wait() -> bool:
        with psycopg.connect(url) as connection:
            waiting = connection.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            return waiting.rowcount > 0

    greedy = threading.Thread(target=turns, args=("greedy", 12))
    greedy.start()
    assert entered.wait(PATIENCE)
    turns("patient", 1)
    greedy.join()
    assert order[:2] == ["greedy", "patient"]
    with closing(PostgresThreads(url)) as one, closing(PostgresThreads(url)) as two, one.turn("t", 1):
        with pytest.raises(StateError, match="at work on another task"), two.turn("t", 0.2):
            pass
        with two.turn("u", 1):
            pass
