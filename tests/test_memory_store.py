"""The table of facts on SQLite and PostgreSQL, against a model in memory, and what the version before wrote in it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint

from metier.core.errors import StateError
from metier.memory.open import open_facts
from metier.memory.postgres import PostgresFacts, PostgresThreads
from metier.memory.store import Fact, FactStore, Owner, SqliteFacts
from metier.tests.postgres import Postgres, installed
from metier.tests.shop import lines, open_shop
from metier.tools.policy import Approve

BACKENDS = ["sqlite", "postgres"]
ANNA, BEN = Owner("anna"), Owner("ben", "acme")
OLD = Path(__file__).parent / "data" / "old"
Open = Callable[..., FactStore]


def fact(id: str, text: str = "x", owner: Owner = ANNA, **more: str) -> Fact:
    return Fact(id=id, text=text, how="added", when="2026-11-22T10:00:00+00:00", user=owner.user, **more)


def ids(store: FactStore, owner: Owner = ANNA) -> list[str]:
    return [one.id for one in store.of(owner)]


@pytest.fixture(scope="module")
def server():
    if installed() is None:
        pytest.skip("the PostgreSQL wheel is not installed")
    with Postgres() as running:
        yield running


@pytest.fixture(params=BACKENDS)
def opened(request, tmp_path):
    """`opened(embedder, **options)`: the same database each time."""
    url = request.getfixturevalue("server").database() if request.param == "postgres" else ""

    def make(embedder=None, **options) -> FactStore:
        database = PostgresFacts(url) if url else SqliteFacts(tmp_path / "facts.sqlite")
        return FactStore(database, embedder, **options)

    return make


def test_write_read_again_and_delete(opened):
    store = opened()
    one = fact("k", "ü \u0000 'quoted' %s ?", specialist="desk", thread_id="t", turn="whole", about="name")
    store.write(ANNA, put=[one])
    assert opened().of(ANNA) == [one]
    changed = one.model_copy(update={"text": "two"})
    store.write(ANNA, put=[changed])
    assert store.of(ANNA) == [changed]
    store.write(ANNA, delete=[fact("k")])
    assert store.of(ANNA) == [changed], "the same id for another specialist is another fact"
    store.write(ANNA, delete=[changed])
    assert store.of(ANNA) == []


def test_newest_first(opened):
    ticks = iter(range(1000))
    store = opened(clock=lambda: float(next(ticks)))
    for n in range(4):
        store.write(ANNA, put=[fact(str(n))])
    store.write(ANNA, put=[fact("1", "said again")])
    assert ids(store) == ["1", "3", "2", "0"]


def test_owners_are_listed(opened):
    store = opened()
    everybody = Owner(None, "acme")
    for owner in (ANNA, BEN, everybody, BEN):
        store.write(owner, put=[fact("k", owner=owner)])
        store.write(owner, put=[fact("k", owner=owner, specialist="desk")])
    with store.database.transaction() as execute:
        execute("UPDATE facts SET namespace = 'somebody.elses' WHERE namespace = ?", (everybody.namespace("desk"),))
    assert sorted(store.owners(), key=repr) == sorted([ANNA, BEN, everybody], key=repr)


def test_what_has_expired_is_not_read_and_goes_at_the_next_write(opened, embedder):
    now = [0.0]
    store = opened(embedder, days=1, clock=lambda: now[0])
    ever = opened(embedder, clock=lambda: now[0])
    store.write(ANNA, put=[fact("short"), fact("again")])
    ever.write(ANNA, put=[fact("ever")])
    now[0] = 20 * 3600
    store.write(ANNA, put=[fact("again")])
    assert store.search("x", ANNA, 3), "being found does not make a fact live longer"
    now[0] = 25 * 3600
    assert sorted(ids(store)) == ["again", "ever"]
    assert {one.fact.id for one in store.search("x", ANNA, 3)} == {"again", "ever"}
    now[0] = 50 * 3600
    assert ids(store) == ["ever"]
    store.write(BEN, put=[fact("new", owner=BEN)])
    with store.database.transaction() as execute:
        assert execute("SELECT count(*) FROM facts")[0][0] == 2


def test_search_by_meaning_and_words(opened, embedder):
    store = opened(embedder)
    facts = [
        fact("dog", "Our golden retriever Archie sleeps all day. It rained."),
        fact("code", "The part P-1011 is on shelf 7."),
        fact("name", "Call me Ann.", about="name"),
    ]
    store.write(ANNA, put=facts)
    store.write(BEN, put=[fact("other", "What pet do we have?", BEN)])
    assert store.search("What pet do we have?", ANNA, 1)[0].fact == facts[0]
    assert store.search("p1011", ANNA, 1)[0].fact == facts[1]
    assert store.search("What is my name?", ANNA, 1)[0].fact == facts[2]
    scores = [one.relevance for one in store.search("golden retriever Archie", ANNA, 9)]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    assert store.search("anything", Owner("nobody"), 3) == []
    assert opened().search("anything", ANNA, 3) == [], "without an embedder nothing is found"


def test_another_embedder_indexes_again(opened, embedder):
    class Other:
        name, dimension = "other", 8

        def embed(self, texts):
            return embedder.embed(texts)[:, :8]

    opened().write(ANNA, put=[fact("k", "written without an embedder")])
    stores = [opened(Other()), opened(embedder)]
    for store in (*stores, *stores):
        assert [one.fact.id for one in store.search("anything", ANNA, 3)] == ["k"]
    opened().write(ANNA, put=[fact("late", "Archie is a golden retriever.")])
    assert stores[1].search("Which dog is Archie?", ANNA, 1)[0].fact.id == "late"


def test_erase_is_of_an_owner_or_of_all(opened):
    store = opened()
    for n in range(3):
        for owner in (ANNA, BEN):
            store.write(owner, put=[fact(str(n), owner=owner)])
    assert store.erase(ANNA) == 3
    assert store.owners() == [BEN]
    assert store.erase() == 3
    assert store.owners() == []


def test_many_threads_write_at_once(opened):
    store = opened()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.write((ANNA, BEN)[n % 2], put=[fact(str(n))]), range(40)))
    assert len(store.of(ANNA)) == len(store.of(BEN)) == 20


def test_a_restarted_server_is_not_noticed(server):
    store = FactStore(PostgresFacts(server.database()))
    store.write(ANNA, put=[fact("k")])
    server.restart("immediate")
    assert ids(store) == ["k"]


def test_two_first_users_of_a_server_at_once(server):
    url = server.database()
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda _: PostgresFacts(url), range(8)))) == 8


def test_erased_rows_leave_the_tables_of_a_server(server, embedder):
    url = server.database()
    facts, threads = FactStore(PostgresFacts(url), embedder), PostgresThreads(url)
    config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

    def tables() -> bytes:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        return b"".join(path.read_bytes() for path in (server.folder / "data" / "base").rglob("*") if path.is_file())

    facts.write(ANNA, put=[fact("k", "the zorvex")])
    threads.put(config, {**empty_checkpoint(), "channel_values": {"text": "the quibblux"}}, {}, {"text": "1"})
    before = tables()
    assert b"zorvex" in before
    assert b"quibblux" in before
    facts.erase()
    threads.delete_thread("t")
    threads.scrub()
    threads.close()
    after = tables()
    assert b"zorvex" not in after
    assert b"quibblux" not in after


def test_what_is_no_database_is_said_in_words(tmp_path):
    (tmp_path / "facts.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StateError, match="move that file away"):
        SqliteFacts(tmp_path / "facts.sqlite")


def test_a_server_that_is_not_there_is_said_in_words():
    with pytest.raises(StateError, match="PostgreSQL"):
        PostgresFacts("postgresql://nobody@127.0.0.1:1/none")


def test_a_file_in_use_is_not_called_erased(tmp_path):
    store = FactStore(SqliteFacts(tmp_path / "facts.sqlite"))
    store.write(ANNA, put=[fact("k", "secret")])
    reader = sqlite3.connect(tmp_path / "facts.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM facts").fetchone()
    with pytest.raises(StateError, match="erase again"):
        store.erase()
    reader.close()
    assert store.erase() == 0
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())


OWNERS = st.builds(Owner, st.sampled_from([None, "a", "a.b", "a b", "é", "%", "_"]), st.sampled_from([None, "a", "b"]))
FACTS = st.builds(
    fact, st.sampled_from(["k", "l", "'; --", ""]), st.text(max_size=8), specialist=st.none() | st.sampled_from("ab")
)
WRITES = st.tuples(OWNERS, st.lists(FACTS, max_size=3), st.lists(FACTS, max_size=2))


@settings(max_examples=100)
@given(writes=st.lists(WRITES, max_size=8), erased=st.none() | OWNERS)
def test_any_writes_leave_what_they_leave_in_a_dictionary(writes, erased):
    store = FactStore(SqliteFacts(Path(":memory:")))
    model: dict[Owner, dict[tuple[str, str | None], Fact]] = {}
    for owner, put, delete in writes:
        store.write(owner, put=put, delete=delete)
        own = model.setdefault(owner, {})
        own.update({(one.id, one.specialist): one.model_copy(update={"user": owner.user}) for one in put})
        for one in delete:
            own.pop((one.id, one.specialist), None)
    if erased is not None:
        assert store.erase(erased) == len(model.pop(erased, {}))
    kept = {owner: facts for owner, facts in model.items() if facts}
    assert set(store.owners()) == set(kept)
    for owner, facts in kept.items():
        assert sorted(store.of(owner), key=repr) == sorted(facts.values(), key=repr)
    store.close()


def test_what_the_version_before_wrote_still_opens(tmp_path, embedder):
    """tests/data/old/README.md says what is in these files, and how they were made."""
    for path in OLD.glob("*.sqlite"):
        (tmp_path / ".metier").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / ".metier" / path.name)
    facts = open_facts("sqlite", tmp_path / ".metier", embedder)
    assert facts is not None
    anna, ben, everybody = Owner("anna", "acme.eu"), Owner("Bén"), Owner(None, "acme.eu")
    with closing(facts):
        assert sorted(facts.owners(), key=repr) == sorted([anna, ben, everybody], key=repr)
        assert [one.text for one in facts.of(anna)] == [
            "I moved to Lisbon.",
            "I slept badly. It rained all night.",
            "My dog's name is Rex.",
        ]
        rex = facts.of(anna)[-1]
        assert (rex.how, rex.about, rex.thread_id) == ("said", "dog name", "t")
        assert rex.turn.endswith("Which tyres fit?")
        with facts.store.database.transaction() as execute:
            before = execute("SELECT key, vectors, terms FROM facts ORDER BY key")
        assert facts.recall("What is my dog called?", anna)[0].fact == rex
        assert facts.recall("When does the canteen close?", anna)[0].fact.user is None
        assert [one.specialist for one in facts.of(ben)] == ["clerk"]
        with facts.store.database.transaction() as execute:
            assert execute("SELECT key, vectors, terms FROM facts ORDER BY key") == before, "nothing was indexed again"
        facts.note("My dog's name is Max.", anna)
        assert [one.text for one in facts.of(anna) if "dog" in one.text] == ["My dog's name is Max."]
    with closing(open_shop(tmp_path, memory={"window": 2})) as team:
        assert {thread.id: (thread.standing, thread.turns) for thread in team.threads.list()} == {
            "t": ("answered", 3),
            "waits": ("waiting", 1),
        }
        assert team.threads.owner("t") == Owner("anna", "acme")
        assert team.resume("waits", [Approve()]).kind == "answer"
        assert [line.split()[:2] for line in lines(tmp_path / "done.txt")] == [["pay", "b"]]
        answer = team.ask("clerk: please have look(d) done for me", thread_id="t", user="anna", tenant="acme")
        assert answer.text == "order d is open"
        assert team.threads.list()[0].turns == 4
