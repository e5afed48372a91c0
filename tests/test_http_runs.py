"""`/v1/runs` on a real server: one run a key, turns in order, an end when nobody listens, decisions of people."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from metier.tests.desk import ENDLESS, QUESTION, QUOTE, STORY, busy, ended, held, open_desk, served


@pytest.fixture(scope="module")
def desk(tmp_path_factory, models):
    with open_desk(tmp_path_factory.mktemp("desk"), pause=0.02) as team:
        yield team


@pytest.fixture(scope="module")
def client(desk):
    with served(desk) as address, httpx.Client(base_url=address) as client:
        yield client


def events(lines):
    """Name and data of each event of a stream."""
    name = None
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_it_lives_is_ready_and_says_who_there_is(client):
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/ready").json() == {"status": "ready"}
    assert [m["id"] for m in client.get("/v1/models").json()["data"]] == [
        "metier", "metier/leases", "metier/writer", "metier/clerk",
    ]  # fmt: skip
    assert "<html" in client.get("/").text


def test_a_run_is_created_polled_and_answered(client):
    made = client.post("/v1/runs", json={"task": QUESTION})
    assert made.status_code == 202
    assert made.headers["location"] == f"/v1/runs/{made.json()['id']}"
    run = ended(client, made.json())
    assert run["status"] == "completed"
    assert run["answer"]["text"] == QUOTE
    assert run["answer"]["specialist"] == "leases"
    assert run["answer"]["run_id"] == run["id"]
    assert client.post("/v1/runs", json={"task": QUESTION, "wait": True}).json()["answer"]["text"] == QUOTE


def test_tokens_come_while_they_are_written(client):
    with client.stream("POST", "/v1/runs", json={"task": STORY, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        got = list(events(response.iter_lines()))
    tokens = [data["data"]["text"] for name, data in got if name == "token"]
    assert "".join(tokens) == STORY.removeprefix("write: ")
    assert len(tokens) == len(STORY.split()) - 1, "they came one by one"
    assert got[0][0] == "run"
    assert got[-1][0] == "end"
    assert got[-1][1]["answer"]["text"] == STORY.removeprefix("write: ")
    again = client.get(f"/v1/runs/{got[0][1]['id']}/events", headers={"Last-Event-ID": "1"})
    names = [name for name, _ in events(again.text.splitlines())]
    assert names == ["run", *[name for name, _ in got][2:]], "who comes later reads the rest"


def test_a_closed_connection_ends_the_work(client, desk):
    before = len(desk.engine.calls)
    with client.stream("POST", "/v1/runs", json={"task": ENDLESS, "specialist": "writer", "stream": True}) as response:
        stream = events(response.iter_lines())
        run = next(stream)[1]
        assert any(name == "token" for name, _ in stream)
        assert client.get(f"/v1/runs/{run['id']}").json()["status"] == "in_progress", "it is read while it is written"
    assert len(desk.engine.calls) == before + 1
    assert ended(client, run)["status"] == "cancelled"


def test_a_run_is_called_off(client):
    run = client.post("/v1/runs", json={"task": ENDLESS, "specialist": "writer"}).json()
    assert client.post(f"/v1/runs/{run['id']}/cancel").status_code == 200
    assert ended(client, run)["status"] == "cancelled"


def test_many_posts_with_one_key_make_one_run(client, desk):
    before = len(desk.engine.calls)

    def post(number):
        return client.post(
            "/v1/runs", json={"task": "write: only once", "specialist": "writer"}, headers={"Idempotency-Key": "k1"}
        )

    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(post, range(100)))
    assert {r.status_code for r in responses} == {202}
    assert len({r.json()["id"] for r in responses}) == 1
    assert ended(client, responses[0].json())["answer"]["text"] == "only once"
    assert len(desk.engine.calls) == before + 1
    other = client.post("/v1/runs", json={"task": "write: another"}, headers={"Idempotency-Key": "k1"})
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_mismatch"


def test_two_turns_at_once_on_one_thread_follow_each_other(client, desk):
    def ask(number):
        body = {"task": f"write: turn {number}", "specialist": "writer", "thread_id": "busy", "wait": True}
        return client.post("/v1/runs", json=body).json()

    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(ask, range(6)))
    assert [run["answer"]["text"] for run in runs] == [f"turn {n}" for n in range(6)]
    assert next(thread for thread in desk.threads.list() if thread.id == "busy").turns == 6, "every turn is kept"


def test_a_person_decides_and_the_run_goes_on(client):
    run = client.post("/v1/runs", json={"task": "pay(7)", "specialist": "clerk", "wait": True}).json()
    assert run["status"] == "requires_action"
    (action,) = run["answer"]["data"]["action_requests"]
    assert (action["name"], action["args"]) == ("pay", {"order": "7"})
    wrong = client.post(f"/v1/runs/{run['id']}/resume", json={"decisions": [{"type": "approve"}] * 2})
    assert wrong.status_code == 422
    body = {"decisions": [{"type": "approve"}], "wait": True}
    done = client.post(f"/v1/runs/{run['id']}/resume", json=body).json()
    assert done["status"] == "completed"
    assert "pay 7" in done["answer"]["text"]
    assert client.post(f"/v1/runs/{run['id']}/resume", json=body).status_code == 409


def test_what_is_wrong_is_said_in_one_shape(client):
    for method, path, body, status, code in [
        ("POST", "/v1/runs", {"task": "x", "specialist": "leses"}, 404, "specialist_not_found"),
        ("POST", "/v1/runs", {"task": ""}, 422, "string_too_short"),
        ("POST", "/v1/runs", {"tusk": "x"}, 422, "missing"),
        ("GET", "/v1/runs/nothing", None, 404, "run_not_found"),
    ]:
        response = client.request(method, path, json=body)
        assert response.status_code == status, response.text
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == code
    assert "did you mean 'leases'" in client.post("/v1/runs", json={"task": "x", "specialist": "leses"}).text


def test_too_much_is_sent_away_and_told_when_to_come_back(desk, tmp_path):
    (tmp_path / "wait").touch()
    with served(desk, workers=1, queue=1) as address, httpx.Client(base_url=address) as client:
        body = {"task": held(tmp_path / "wait", "done"), "specialist": "writer"}
        runs = [client.post("/v1/runs", json=body) for _ in range(3)]
        assert [r.status_code for r in runs] == [202, 202, 429]
        assert int(runs[2].headers["retry-after"]) >= 1
        assert runs[2].json()["error"]["code"] == "queue_full"
        (tmp_path / "wait").unlink()
        for run in runs[:2]:
            assert ended(client, run.json())["status"] == "completed"


def test_a_server_that_ends_lets_its_runs_end(desk, tmp_path):
    (tmp_path / "wait").touch()
    with ThreadPoolExecutor(1) as pool, served(desk) as address:
        body = {"task": held(tmp_path / "wait", "told to its end"), "specialist": "writer", "wait": True}
        asked = pool.submit(httpx.post, f"{address}/v1/runs", json=body)
        busy(address, 1)
        (tmp_path / "wait").unlink()
    assert asked.result().json()["answer"]["text"] == "told to its end"
