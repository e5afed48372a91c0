# pyright: reportOptionalMemberAccess=false, reportPossiblyUnboundVariable=false
"""Two `metier serve` processes with a folder each, as on two machines, over one PostgreSQL."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import httpx
import pytest

from metier.agents.cards import Blueprint
from metier.agents.threads import open_threads
from metier.tests.desk import ENDLESS, QUESTION, QUOTE, ended, endless_while, held, serve_command, write_desk
from metier.tests.patience import PATIENCE, until


@pytest.fixture(scope="module")
def url(postgres) -> str:
    return postgres.database()


@pytest.fixture(scope="module")
def servers(tmp_path_factory, models, url):
    """Both: process, client and folder of each."""
    first = write_desk(tmp_path_factory.mktemp("first"), checkpoints=url)
    second = shutil.copytree(first, tmp_path_factory.mktemp("second") / "desk")
    with ExitStack() as stack:
        pairs = [stack.enter_context(serve_command(folder, "--workers", "4")) for folder in (first, second)]
        clients = [stack.enter_context(httpx.Client(base_url=address, timeout=PATIENCE)) for _, address in pairs]
        yield [
            (process, client, folder)
            for (process, _), client, folder in zip(pairs, clients, [first, second], strict=True)
        ]


def test_a_run_is_seen_followed_and_called_off_through_the_other(servers, tmp_path):
    (_, here, _), (_, there, _) = servers
    hold = tmp_path / "hold"
    hold.touch()
    story = {"task": held(hold, "word " * 40), "specialist": "writer", "thread_id": "seen"}
    run = here.post("/v1/runs", json=story).json()
    assert there.get(f"/v1/runs/{run['id']}").json()["status"] in ("queued", "in_progress")
    with there.stream("GET", f"/v1/runs/{run['id']}/events") as response:
        hold.unlink()
        events = [line.partition(": ")[2] for line in response.iter_lines() if line.startswith("event")]
    assert events == ["run", "answer", "end"], "of another server's run the end is known"
    assert there.get(f"/v1/runs/{run['id']}").json()["answer"]["text"].count("word") == 40
    long = here.post("/v1/runs", json={"task": ENDLESS, "specialist": "writer"}).json()
    there.post(f"/v1/runs/{long['id']}/cancel")
    assert ended(here, long)["status"] == ended(there, long)["status"] == "cancelled"


def test_a_decision_may_come_to_the_other(servers):
    (_, here, mine), (_, there, other) = servers
    run = here.post("/v1/runs", json={"task": "pay(3)", "specialist": "clerk", "wait": True}).json()
    assert run["status"] == "requires_action"
    body = {"decisions": [{"type": "approve"}], "wait": True}
    assert there.post(f"/v1/runs/{run['id']}/resume", json=body).json()["status"] == "completed"
    assert here.get(f"/v1/runs/{run['id']}").json()["status"] == "completed"
    assert here.post(f"/v1/runs/{run['id']}/resume", json=body).status_code == 409
    assert _done(mine, other) == {"pay 3": 1}


def test_a_key_is_one_run_on_both(servers):
    clients = itertools.cycle(client for _, client, _ in servers)
    with ThreadPoolExecutor(8) as pool:
        asked = {"task": QUESTION, "wait": True}
        post = lambda client: client.post("/v1/runs", json=asked, headers={"Idempotency-Key": "once"}).json()  # noqa: E731
        answers = list(pool.map(post, itertools.islice(clients, 8)))
    assert len({answer["id"] for answer in answers}) == 1
    assert {answer["answer"]["text"] for answer in answers} == {QUOTE}
    other = next(clients).post("/v1/runs", json={"task": "else"}, headers={"Idempotency-Key": "once"})
    assert other.json()["error"]["code"] == "idempotency_mismatch"
    chat = {"model": "metier", "messages": [{"role": "user", "content": QUESTION}]}
    said = [
        next(clients).post("/v1/chat/completions", json=chat, headers={"Idempotency-Key": "chat"}).json()
        for _ in range(2)
    ]
    assert said[0]["id"] == said[1]["id"]


def test_under_load_one_is_killed_and_all_that_was_accepted_is_done(servers, tmp_path):
    """Stories in four conversations and in none, effects, a batch, and a call that waits for a person. One conversation
    is in the middle of a story when the server is killed."""
    there = tmp_path / "there"
    there.touch()
    (doomed, first, mine), (_, second, other) = servers
    before = _done(mine, other)
    waits = first.post("/v1/runs", json={"task": "pay(9)", "specialist": "clerk", "wait": True}).json()
    texts = [f"{n} " + "word " * 15 for n in range(28)]
    tasks = [endless_while(there, text) if n % 4 == 1 else f"write: {text}" for n, text in enumerate(texts)]
    stories = [(f"t{n % 4}" if n % 2 else None, "writer", task) for n, task in enumerate(tasks)]
    asked = [*stories, *((None, "clerk", f"book({n}) then send({n})") for n in range(100, 106))]
    rows = [
        {
            "custom_id": str(n),
            "url": "/v1/runs",
            "body": {"task": f"write: {n} " + "line " * 10, "specialist": "writer"},
        }
        for n in range(8)
    ]
    lines = "\n".join(json.dumps({"method": "POST", **row}) for row in rows)
    file = first.post("/v1/files", files={"file": ("in.jsonl", lines)}, data={"purpose": "batch"}).json()
    batch = first.post(
        "/v1/batches", json={"input_file_id": file["id"], "endpoint": "/v1/runs", "completion_window": "24h"}
    ).json()

    def ask(number: int) -> str:
        """As a load balancer does: to the one or the other, and to the other when that does not answer."""
        thread, specialist, task = asked[number]
        body = {"task": task, "specialist": specialist, "thread_id": thread}
        for client in (first, second) if number % 2 else (second, first):
            try:
                answer = client.post("/v1/runs", json=body, headers={"Idempotency-Key": f"load {number}"})
            except httpx.TransportError:
                continue
            return answer.json()["id"]
        raise AssertionError("neither answers")

    with ThreadPoolExecutor(6) as pool:
        begun = [pool.submit(ask, number) for number in range(len(asked) - 8)]
        until(lambda: first.get("/health").json()["active"] >= 4)
        doomed.kill()
        doomed.wait()
        there.unlink()
        begun += [pool.submit(ask, number) for number in range(len(asked) - 8, len(asked))]
        ids = [future.result() for future in begun]
    assert len(set(ids)) == len(asked)
    runs = [_settled(second, id, mine, other) for id in ids]
    assert [run["status"] for run in runs] == ["completed"] * len(asked)
    for run, (_, specialist, task) in zip(runs, asked, strict=True):
        if specialist == "writer":
            assert run["answer"]["text"] == _told(task)
    effects = _done(mine, other) - before
    assert effects == Counter(f"{what} {n}" for n in range(100, 106) for what in ("book", "send")), "each once"
    body = {"decisions": [{"type": "approve"}], "wait": True}
    assert "pay 9" in second.post(f"/v1/runs/{waits['id']}/resume", json=body).json()["answer"]["text"]
    again = second.post("/v1/runs", json={"task": asked[0][2], "specialist": "writer", "thread_id": None},
                        headers={"Idempotency-Key": "load 0"})  # fmt: skip
    assert again.json()["id"] == ids[0]
    _batch_is_done(second, batch["id"])
    _conversations(mine, asked, ids)


def _settled(client: httpx.Client, id: str, *folders: Any) -> dict[str, Any]:
    """A run at its end. Whether an effect that was under way happened is looked up, as a person would."""
    while (run := ended(client, id))["status"] == "requires_action":
        (action,) = run["answer"]["data"]["action_requests"]
        assert "nobody knows" in action["description"]
        line = f"{action['name']} {action['args']['order']}"
        happened = {"type": "respond", "message": f"did {line}"}
        decision = happened if line in _done(*folders) else {"type": "approve"}
        client.post(f"/v1/runs/{id}/resume", json={"decisions": [decision], "wait": True})
    return run


def _told(task: str) -> str:
    """What the writer says to it."""
    return task.partition(": ")[2].strip()


def _done(*folders: Any) -> Counter[str]:
    """What the tools have really done on both machines, by how often."""
    found = [path.read_text().splitlines() for folder in folders for path in folder.rglob("done.txt")]
    return Counter(" ".join(line.split()[:2]) for lines in found for line in lines)


def _conversations(folder: Any, asked: list[Any], ids: list[str]) -> None:
    """Each turn is there once, with its own answer: two turns at once would have lost one."""
    with closing(open_threads(Blueprint.read(folder))) as threads:
        for thread in ("t1", "t3"):
            own = sorted(task for name, _, task in asked if name == thread)
            turns = threads.turns(thread)
            assert sorted(turn.task for turn in turns) == own
            assert all(turn.answer.text == _told(turn.task) for turn in turns)
        assert not {f"single-{id}" for id in ids} & {thread.id for thread in threads.list()}, (
            "single tasks leave nothing"
        )


def _batch_is_done(client: httpx.Client, id: str) -> None:
    until(lambda: client.get(f"/v1/batches/{id}").json()["status"] != "in_progress", pause=0.1)
    batch = client.get(f"/v1/batches/{id}").json()
    assert (batch["status"], batch["request_counts"]["total"]) == ("completed", 8)
    rows = client.get(f"/v1/files/{batch['output_file_id']}/content").text.splitlines()
    said = {(row := json.loads(line))["custom_id"]: row["response"]["body"]["answer"]["text"] for line in rows}
    assert said == {str(n): f"{n} " + " ".join(["line"] * 10) for n in range(8)}
