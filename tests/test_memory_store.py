"""The store of facts: LangGraph's contract on SQLite and PostgreSQL, against its own store in memory."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from metier.core.errors import StateError
from metier.memory.facts_postgres import PostgresFacts
from metier.memory.facts_sqlite import SqliteFacts
from metier.memory.postgres import PostgresThreads
from metier.memory.store import FactStore
from metier.tests.postgres import Postgres, installed

BACKENDS = ["sqlite", "postgres"]
Open = Callable[..., FactStore]


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


def test_put_get_update_delete(opened):
    store = opened()
    store.put(("a", "b"), "k", {"text": "one", "n": 1})
    first = store.get(("a", "b"), "k")
    assert first is not None
    assert first.value == {"text": "one", "n": 1}
    store.put(("a", "b"), "k", {"text": "two"})
    second = store.get(("a", "b"), "k")
    assert second is not None
    assert second.value == {"text": "two"}
    assert second.created_at == first.created_at
    assert second.updated_at >= first.updated_at
    store.delete(("a", "b"), "k")
    assert store.get(("a", "b"), "k") is None
    assert store.get(("a",), "k") is None


def test_what_was_written_is_there_when_opened_again(opened):
    opened().put(("a",), "k", {"text": "ü \u0000 'quoted' %s ?"})
    item = opened().get(("a",), "k")
    assert item.value == {"text": "ü \u0000 'quoted' %s ?"}


def test_a_prefix_is_whole_labels(opened):
    store = opened()
    for namespace in [("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("a b",), ("A", "b"), ("a", "b%"), ("a", "b_")]:
        store.put(namespace, "k", {"text": "x"})
    found = {item.namespace for item in store.search(("a",))}
    assert found == {("a",), ("a", "b"), ("a", "b", "c"), ("a", "b%"), ("a", "b_")}
    assert {item.namespace for item in store.search(("a", "b"))} == {("a", "b"), ("a", "b", "c")}
    assert len(store.search(())) == 8


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({"n": 1}, {"one"}),
        ({"n": {"$gte": 2}}, {"two", "three"}),
        ({"n": {"$gt": 1, "$lt": 3}}, {"two"}),
        ({"n": {"$lte": 1}}, {"one"}),
        ({"kind": {"$ne": "odd"}}, {"two", "none"}),
        ({"kind": {"$eq": "odd"}, "n": 3}, {"three"}),
        ({"deep": {"a": [1, {"b": 2}]}}, {"two"}),
        ({"missing": None}, {"one", "two", "three", "none"}),
        ({}, {"one", "two", "three", "none"}),
    ],
)
def test_filters(opened, wanted, keys):
    store = opened()
    store.put(("f",), "one", {"n": 1, "kind": "odd"})
    store.put(("f",), "two", {"n": 2, "kind": "even", "deep": {"a": [1, {"b": 2}], "c": 0}})
    store.put(("f",), "three", {"n": 3, "kind": "odd"})
    store.put(("f",), "none", {"n": "text"})
    assert {item.key for item in store.search(("f",), filter=wanted)} == keys


def test_an_unknown_filter_is_an_error(opened):
    store = opened()
    store.put(("f",), "one", {"n": 1})
    with pytest.raises(ValueError, match=r"\$like"):
        store.search(("f",), filter={"n": {"$like": 1}})


def test_pages_newest_first(opened):
    ticks = iter(range(1000))
    store = opened(clock=lambda: float(next(ticks)))
    for n in range(7):
        store.put(("p",), str(n), {"text": str(n)})
    assert [item.key for item in store.search(("p",), limit=3)] == ["6", "5", "4"]
    assert [item.key for item in store.search(("p",), limit=3, offset=5)] == ["1", "0"]


def test_namespaces_are_listed(opened):
    store = opened()
    for namespace in [("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "b", "f"), ("a", "c", "f")]:
        store.put(namespace, "k", {"text": "x"})
    assert store.list_namespaces(prefix=("a", "b"), max_depth=3) == [("a", "b", "c"), ("a", "b", "d"), ("a", "b", "f")]
    assert store.list_namespaces(suffix=("f",)) == [("a", "b", "f"), ("a", "c", "f")]
    assert store.list_namespaces(prefix=("a", "*", "f")) == [("a", "b", "f"), ("a", "c", "f")]
    assert store.list_namespaces(limit=2, offset=1) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
    both = (MatchCondition("prefix", ("a", "b")), MatchCondition("suffix", ("f",)))
    assert store.batch([ListNamespacesOp(match_conditions=both)]) == [[("a", "b", "f")]]


@pytest.mark.parametrize("label", ["", "a.b", "nul\x00"])
def test_labels_that_langgraph_forbids(opened, label):
    store = opened()
    for op in (PutOp((label,), "k", {"text": "x"}), GetOp((label,), "k"), SearchOp((label,))):
        with pytest.raises(InvalidNamespaceError):
            store.batch([op])


def test_in_a_batch_reads_come_before_writes_and_the_last_write_wins(opened):
    store = opened()
    ops = [
        PutOp(("b",), "k", {"text": "first"}),
        GetOp(("b",), "k"),
        PutOp(("b",), "k", {"text": "last"}),
        PutOp(("b",), "gone", {"text": "x"}),
        PutOp(("b",), "gone", None),
    ]
    assert store.batch(ops) == [None] * 5
    assert [item.value["text"] for item in store.search(("b",))] == ["last"]


def test_asynchronous_callers_get_the_same(opened):
    store = opened()

    async def work():
        await store.aput(("x",), "k", {"text": "hello"})
        found = await store.asearch(("x",))
        names = await store.alist_namespaces()
        item = await store.aget(("x",), "k")
        await store.adelete(("x",), "k")
        return found[0].key, names, item.value, await store.aget(("x",), "k")

    assert asyncio.run(work()) == ("k", [("x",)], {"text": "hello"}, None)


def test_time_to_live(opened):
    now = [0.0]
    store = opened(ttl=10, clock=lambda: now[0])
    store.put(("t",), "short", {"text": "x"})
    store.put(("t",), "long", {"text": "x"}, ttl=100)
    store.put(("t",), "ever", {"text": "x"}, ttl=None)
    now[0] = 9 * 60
    assert store.get(("t",), "short", refresh_ttl=True) is not None
    now[0] = 18 * 60
    assert len(store.search(("t",), refresh_ttl=False)) == 3
    now[0] = 19.1 * 60
    assert {item.key for item in store.search(("t",), refresh_ttl=False)} == {"long", "ever"}
    assert store.get(("t",), "short") is None
    now[0] = 200 * 60
    assert store.list_namespaces() == [("t",)]
    assert [item.key for item in store.search(("t",))] == ["ever"]
    store.put(("t",), "new", {"text": "x"})
    with store.database.transaction() as execute:
        assert execute("SELECT count(*) FROM facts")[0][0] == 2


def test_recall_by_meaning_and_words(opened, embedder):
    store = opened(embedder)
    store.put(("u",), "dog", {"text": "Our golden retriever Archie sleeps all day. It rained."})
    store.put(("u",), "code", {"text": "The part P-1011 is on shelf 7."})
    store.put(("u",), "silent", {"text": "Archie the golden retriever"}, index=False)
    store.put(("u",), "title", {"text": "nothing", "title": "Where the bicycle is kept"}, index=["title"])
    assert store.search(("u",), query="What pet do we have?")[0].key == "dog"
    assert store.search(("u",), query="p1011")[0].key == "code"
    assert store.search(("u",), query="bike")[0].key == "title"
    scores = [item.score for item in store.search(("u",), query="golden retriever Archie")]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3, "what is not indexed is not found by a search"
    assert len(store.search(("u",))) == 4


def test_another_embedder_indexes_again(opened, embedder):
    class Other:
        name, dimension = "other", 8

        def embed(self, texts):
            return embedder.embed(texts)[:, :8]

    opened().put(("u",), "k", {"text": "written without an embedder"})
    stores = [opened(Other()), opened(embedder)]
    for store in (*stores, *stores):
        assert store.search(("u",), query="anything")[0].score is not None
    opened().put(("u",), "late", {"text": "Archie is a golden retriever."})
    assert stores[1].search(("u",), query="Which dog is Archie?")[0].key == "late"


def test_erase_is_below_a_namespace_and_scrubs(opened):
    store = opened()
    for n in range(3):
        store.put(("e", "one"), str(n), {"text": "x"})
        store.put(("e", "two"), str(n), {"text": "x"})
    assert store.erase(("e", "one")) == 3
    assert {item.namespace for item in store.search(())} == {("e", "two")}
    assert store.erase() == 3
    assert store.search(()) == []


def test_many_threads_write_at_once(opened):
    store = opened()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put(("c", f"u{n % 4}"), str(n), {"text": str(n)}), range(40)))
    assert len(store.search(("c",), limit=100)) == 40


def test_a_restarted_server_is_not_noticed(server):
    store = FactStore(PostgresFacts(server.database()))
    store.put(("r",), "k", {"text": "x"})
    server.restart("immediate")
    item = store.get(("r",), "k")
    assert item is not None
    assert item.value == {"text": "x"}


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

    facts.put(("a",), "k", {"text": "the zorvex"})
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
    store.put(("a",), "k", {"text": "secret"})
    reader = sqlite3.connect(tmp_path / "facts.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM facts").fetchone()
    with pytest.raises(StateError, match="erase again"):
        store.erase()
    reader.close()
    assert store.erase() == 0
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())


LABELS = st.sampled_from(["a", "b", "ab", "a b", "é", "%", "_"])
NAMESPACES = st.lists(LABELS, min_size=1, max_size=3).map(tuple)
KEYS = st.sampled_from(["k", "l", "'; --", ""])
VALUES = st.fixed_dictionaries({"text": st.text(max_size=8), "n": st.integers(0, 3)})
FILTERS = st.fixed_dictionaries({"n": st.integers(0, 3)})
OPS = st.one_of(
    st.builds(PutOp, NAMESPACES, KEYS, st.none() | VALUES, st.none(), st.none()),
    st.builds(GetOp, NAMESPACES, KEYS, st.booleans()),
    st.builds(
        SearchOp, NAMESPACES | st.just(()), st.none() | FILTERS, st.just(99), st.just(0), st.none(), st.booleans()
    ),
)


@settings(max_examples=150)
@given(batches=st.lists(st.lists(OPS, max_size=6), max_size=6))
def test_any_operations_give_what_langgraphs_own_store_gives(batches):
    ours = FactStore(SqliteFacts(Path(":memory:")))
    model = InMemoryStore()
    for batch in batches:
        for got, wanted in zip(ours.batch(batch), model.batch(batch), strict=True):
            assert _plain(got) == _plain(wanted)
        left = {item.namespace for item in model.search((), limit=99)}
        assert ours.list_namespaces(limit=99) == sorted(left)
    ours.close()


def _plain(result):
    """Results without times; items of a search in any order."""
    if isinstance(result, list):
        return sorted((_plain(one) for one in result), key=repr)
    return result if result is None or isinstance(result, tuple) else (result.namespace, result.key, result.value)
