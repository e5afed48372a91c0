# pyright: reportArgumentType=false, reportCallIssue=false
"""`langgraph_sdk`, unmodified, against a real server: threads, runs, streams, interrupts, state and history."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from langgraph_sdk import get_client, get_sync_client

from metier.tests.desk import ENDLESS, QUESTION, QUOTE, STORY, busy

TOLD = STORY.removeprefix("write: ")


@pytest.fixture(scope="module")
def client(address):
    client = get_sync_client(url=address, api_key=None)
    yield client
    client.http.client.close()


def said(text):
    return {"messages": [{"role": "user", "content": text}]}


def test_a_chat_page_finds_its_assistant(client, address):
    assert httpx.get(f"{address}/info", headers={"X-Api-Key": "x"}).status_code == 200
    assert httpx.get(f"{address}/ok").json() == {"ok": True}
    found = client.assistants.search()
    assert [a["graph_id"] for a in found] == ["metier", "metier/leases", "metier/writer", "metier/clerk"]
    assert client.assistants.get(found[1]["assistant_id"])["name"] == "metier/leases"
    assert client.assistants.get("metier/writer")["graph_id"] == "metier/writer"
    assert client.assistants.get_schemas("metier")["graph_id"] == "metier"
    assert {"route", "leases"} <= {node["id"] for node in client.assistants.get_graph("metier")["nodes"]}


def test_a_thread_keeps_its_turns_and_is_found_renamed_and_forgotten(client):
    thread = client.threads.create(metadata={"topic": "lamps"})["thread_id"]
    assert client.threads.get_state(thread)["values"] == {}
    for text in ("write: one", "write: two"):
        values = client.runs.wait(thread, "metier/writer", input=said(text))
    assert [m["content"] for m in values["messages"]] == ["write: one", "one", "write: two", "two"]
    assert [m["type"] for m in values["messages"]] == ["human", "ai", "human", "ai"]
    assert client.threads.get_state(thread)["values"]["messages"] == values["messages"]
    texts = [[m["content"] for m in s["values"]["messages"]] for s in client.threads.get_history(thread, limit=100)]
    assert texts[0] == ["write: one", "one", "write: two", "two"]
    assert ["write: one", "one"] in texts
    (found,) = client.threads.search(metadata={"topic": "lamps"})
    assert (found["thread_id"], found["status"]) == (thread, "idle")
    assert found["metadata"]["graph_id"] == "metier/writer"
    assert found["values"]["messages"][0]["content"] == "write: one"
    assert client.threads.update(thread, metadata={"title": "Lamps"})["metadata"]["title"] == "Lamps"
    assert client.threads.count(metadata={"title": "Lamps"}) == 1
    client.threads.copy(thread)
    assert client.threads.count(metadata={"title": "Lamps"}) == 2
    assert len(client.runs.list(thread)) == 2
    client.threads.delete(thread)
    with pytest.raises(httpx.HTTPStatusError, match="there is no thread"):
        client.threads.get(thread)
    assert client.threads.count(metadata={"title": "Lamps"}) == 1, "the copy is still there"


def test_a_run_streams_in_the_order_that_clients_expect(client):
    thread = client.threads.create()["thread_id"]
    modes = ["values", "messages-tuple", "updates", "custom"]
    parts = list(client.runs.stream(thread, "metier", input=said(STORY), stream_mode=modes))
    kinds = [part.event for part in parts]
    assert kinds[:2] == ["metadata", "values"]
    assert kinds[-1] == "values"
    assert parts[1].data["messages"][-1]["content"] == STORY
    words = [part.data[0]["content"] for part in parts if part.event == "messages"]
    assert "".join(words) == TOLD
    assert len(words) == len(TOLD.split()), "word by word"
    assert parts[-1].data["messages"][-1]["content"] == TOLD
    assert parts[-1].data["answer"]["specialist"] == "writer"
    assert next(p.data for p in parts if p.event == "updates")["route"]["route"]["decision"] == "one"
    assert "route" in [p.data["name"] for p in parts if p.event == "custom"]


def test_words_are_heard_while_others_are_written(client):
    thread = client.threads.create()["thread_id"]
    stream = client.runs.stream(thread, "metier/writer", input=said(ENDLESS), stream_mode=["messages-tuple"])
    run = next(stream).data["run_id"]
    assert [next(stream).event for _ in range(3)] == ["messages"] * 3
    assert client.runs.get(thread, run)["status"] == "running"
    client.runs.cancel(thread, run, wait=True)
    stream.close()


@pytest.mark.parametrize(
    ("resume", "result"),
    [
        ({"decisions": [{"type": "approve"}]}, "pay 7"),
        ({"decisions": [{"type": "edit", "edited_action": {"name": "book", "args": {"order": "8"}}}]}, "book 8"),
        ([{"type": "response", "args": "it was paid by hand"}], "it was paid by hand"),
        ([{"type": "accept", "args": None}], "pay 7"),
    ],
    ids=["approve", "edit", "respond in the older words", "approve in the older words"],
)
def test_an_interrupt_is_shown_and_decided(client, resume, result):
    thread = client.threads.create()["thread_id"]
    parts = list(client.runs.stream(thread, "metier/clerk", input=said("pay(7)"), stream_mode=["values", "updates"]))
    (interrupt,) = parts[-1].data["__interrupt__"]
    assert interrupt["value"]["action_requests"][0]["name"] == "pay"
    assert set(interrupt["value"]["review_configs"][0]["allowed_decisions"]) >= {"approve", "edit", "reject"}
    shown = client.threads.get(thread)
    assert shown["status"] == "interrupted"
    assert [i["id"] for rows in shown["interrupts"].values() for i in rows] == [interrupt["id"]]
    values = client.runs.wait(thread, "metier/clerk", command={"resume": resume})
    assert result in values["messages"][-1]["content"]
    assert client.threads.get(thread)["status"] == "idle"


def test_runs_without_a_thread_and_in_the_background(client):
    assert client.runs.wait(None, "metier", input=said(QUESTION))["messages"][-1]["content"] == QUOTE
    thread = client.threads.create()["thread_id"]
    run = client.runs.create(thread, "metier", input=said(STORY))
    assert run["status"] in ("pending", "running")
    assert client.runs.join(thread, run["run_id"])["messages"][-1]["content"] == TOLD
    assert client.runs.get(thread, run["run_id"])["status"] == "success"
    again = [p.event for p in client.runs.join_stream(thread, run["run_id"], stream_mode=["values", "custom"])]
    assert again[0] == "metadata"
    assert again[-1] == "values"
    assert "custom" in again
    long = client.runs.create(thread, "metier/writer", input=said(ENDLESS))
    client.runs.cancel(thread, long["run_id"], wait=True)
    assert client.runs.get(thread, long["run_id"])["status"] == "interrupted"


def test_a_busy_thread_waits_refuses_or_is_interrupted(client, address):
    thread = client.threads.create()["thread_id"]
    long = client.runs.create(thread, "metier/writer", input=said(ENDLESS))
    busy(address, 1)
    with pytest.raises(httpx.HTTPStatusError, match="is busy"):
        client.runs.create(thread, "metier/writer", input=said("write: no"), multitask_strategy="reject")
    values = client.runs.wait(thread, "metier/writer", input=said("write: instead"), multitask_strategy="interrupt")
    assert values["messages"][-1]["content"] == "instead"
    assert client.runs.get(thread, long["run_id"])["status"] == "interrupted"


def test_what_is_wrong_is_said(client, address):
    thread = client.threads.create()["thread_id"]
    for path, body, status in [
        ("/threads/nothing/runs/wait", {"input": said("x")}, 404),
        (f"/threads/{thread}/runs/wait", {"assistant_id": "nobody", "input": said("x")}, 404),
        (f"/threads/{thread}/runs/wait", {"input": {"messages": [{"type": "ai", "content": "x"}]}}, 422),
        (f"/threads/{thread}/runs/wait", {"command": {"resume": {"type": "approve"}}}, 409),
        ("/threads", {"thread_id": thread}, 409),
    ]:
        response = httpx.post(f"{address}{path}", json=body)
        assert response.status_code == status, (path, response.text)
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    same = httpx.post(f"{address}/threads", json={"thread_id": thread, "if_exists": "do_nothing"})
    assert same.json()["thread_id"] == thread


def test_the_asynchronous_client(address):
    async def talk() -> str:
        client = get_client(url=address, api_key=None)
        thread = (await client.threads.create())["thread_id"]
        got = [part async for part in client.runs.stream(thread, "agent", input=said(QUESTION))]
        await client.http.client.aclose()
        return got[-1].data["messages"][-1]["content"]

    assert asyncio.run(talk()) == QUOTE
