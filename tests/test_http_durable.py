# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false, reportOptionalMemberAccess=false, reportPossiblyUnboundVariable=false
"""What was accepted is done: after a kill, by a webhook that is told, in a batch; and it can be erased."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import openai
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from metier.agents.cards import Blueprint
from metier.agents.erasure import Scope, erase, export
from metier.memory.records import Records
from metier.memory.store import Owner
from metier.serving.running import find_running
from metier.tests.desk import (
    ENDLESS,
    QUESTION,
    QUOTE,
    busy,
    ended,
    endless_while,
    held,
    open_desk,
    serve_command,
    served,
    write_desk,
)
from metier.tests.patience import PATIENCE, until

HEAVY = {"langgraph", "langchain_core", "numpy", "onnxruntime", "fastapi", "httpx"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def desk(tmp_path_factory, models):
    with open_desk(tmp_path_factory.mktemp("desk"), pause=0.02) as team:
        yield team


@pytest.fixture(scope="module")
def folder(tmp_path_factory, models):
    return write_desk(tmp_path_factory.mktemp("files"))


# Kills.


def test_ask_uses_the_running_server_and_loads_nothing(folder):
    code = "import sys; from metier.serving.cli import app; app(sys.argv[1:], standalone_mode=False)"
    watch = f"{code}\nprint(sorted({{m.partition('.')[0] for m in sys.modules}} & {HEAVY!r}), file=sys.stderr)"

    def ask(*words):
        command = [sys.executable, "-c", watch, "ask", *words, "-t", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

    with serve_command(folder) as (process, _):
        done = ask(QUESTION)
        assert QUOTE in done.stdout
        assert "leases@" in done.stdout
        assert done.stderr.splitlines()[-1] == "[]", "neither the graph nor a model is loaded"
        told = json.loads(ask(QUESTION, "--json").stdout)
        assert (told["text"], told["citations"][0]["quote"]) == (QUOTE, QUOTE)
        wrong = ask("x", "-s", "leses")
        assert "did you mean 'leases'" in wrong.stderr
        process.kill()
    stale = {"url": "http://127.0.0.1:9", "pid": 1, "instance": "x"}
    for told in (stale, {**stale, "url": "http://192.0.2.1:80"}, {**stale, "url": "nothing"}, []):
        (folder / ".metier" / "server.json").write_text(json.dumps(told))
        assert find_running(folder) is None


def test_what_was_accepted_is_done_after_a_kill_and_sigterm_lets_it_end(folder, tmp_path):
    """Some are in the middle of an answer, some wait, one has effects, one waits for a person."""
    wait, drain = tmp_path / "wait", tmp_path / "drain"
    wait.touch()
    drain.touch()
    stories = [f"write: {n} " + "word " * 20 for n in range(4)] + [endless_while(wait, str(n)) for n in range(4, 12)]
    tasks = [("writer", story) for story in stories] + [("clerk", "book(5) then send(5)")]
    key = {"Idempotency-Key": "again"}
    with serve_command(folder, "--workers", "3") as (process, url), httpx.Client(base_url=url) as client:
        first = client.post("/v1/runs", json={"task": QUESTION, "wait": True}, headers=key).json()["id"]
        waiting = client.post("/v1/runs", json={"task": "pay(9)", "specialist": "clerk", "wait": True}).json()
        ids = [client.post("/v1/runs", json={"task": t, "specialist": s}).json()["id"] for s, t in tasks]

        def states():
            return [client.get(f"/v1/runs/{id}").json()["status"] for id in ids]

        until(lambda: {"in_progress", "queued"} <= set(states()))
        process.kill()
    wait.unlink()
    with serve_command(folder) as (process, url), httpx.Client(base_url=url, timeout=PATIENCE) as client:
        runs = [ended(client, id) for id in ids]
        assert [run["status"] for run in runs] == ["completed"] * len(tasks)
        for run, (_, task) in zip(runs[:-1], tasks, strict=False):
            assert run["answer"]["text"] == task.partition(": ")[2].strip()
        body = {"decisions": [{"type": "approve"}], "wait": True}
        paid = client.post(f"/v1/runs/{waiting['id']}/resume", json=body).json()
        assert "pay 9" in paid["answer"]["text"]
        again = client.post("/v1/runs", json={"task": QUESTION, "wait": True}, headers=key).json()
        assert (again["id"], again["status"]) == (first, "completed"), "a key is known after a restart"

        def ask(number):
            return client.post(
                "/v1/runs", json={"task": held(drain, str(number)), "specialist": "writer", "wait": True}
            )

        with ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(ask, number) for number in range(6)]
            busy(url, 6)
            process.send_signal(signal.SIGTERM)
            drain.unlink()
            answers = [future.result() for future in asked]
        assert process.wait(PATIENCE) == 0
    assert [a.json()["answer"]["text"] for a in answers] == list("012345")
    done = next(folder.rglob("done.txt")).read_text().splitlines()
    assert [line.split()[:2] for line in done] == [["book", "5"], ["send", "5"], ["pay", "9"]], "each effect once"
    assert not (folder / ".metier" / "server.json").exists()
    _is_erased(folder)


def _is_erased(folder):
    """What was asked is exported and erased with its person."""
    plan, me = Blueprint.read(folder), Scope(Owner("me"))
    assert QUESTION in json.dumps(export(plan, me).requests)
    assert erase(plan, me).requests > 10
    assert QUESTION.encode() not in (plan.state / "requests.sqlite").read_bytes()
    assert export(plan, me).requests == ()


# Webhooks.


@contextmanager
def receiver(*statuses):
    """A server that keeps what it is told, and answers with these statuses in turn, then 204."""
    got, left = [], list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"])).decode()))
            self.send_response(left.pop(0) if left else 204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/told", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wait_for(got, count):
    until(lambda: len(got) >= count)


def test_a_webhook_is_told_and_can_verify_it(desk):
    with (
        receiver(500) as (url, got),
        served(desk, webhook_hosts=["127.0.0.1"]) as address,
        httpx.Client(base_url=address) as client,
    ):
        hook = {"url": url, "secret": SECRET}
        run = client.post("/v1/runs", json={"task": QUESTION, "webhook": hook}).json()
        wait_for(got, 2)
        headers, body = got[1]
        Webhook(SECRET).verify(body, headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body.replace("31", "30"), headers)
        told = json.loads(body)
        assert (told["type"], told["data"]["id"]) == ("run.completed", run["id"])
        assert told["data"]["answer"]["text"] == QUOTE
        assert got[0][0]["webhook-id"] == headers["webhook-id"], "a second attempt is the same message"
        own = client.post("/v1/runs", json={"task": "pay(3)", "specialist": "clerk", "webhook": {"url": url}}).json()
        wait_for(got, 3)
        headers, body = got[2]
        Webhook((desk.blueprint.state / "webhook.secret").read_text()).verify(body, headers)
        assert json.loads(body)["type"] == "run.requires_action"
        client.post(f"/v1/runs/{own['id']}/cancel")
        wait_for(got, 4)
        assert json.loads(got[3][1])["type"] == "run.cancelled"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x", "http://localhost/x", "http://169.254.169.254/latest", "http://[::1]/", "http://10.0.0.1/",
        "http://2130706433/", "http://[::ffff:127.0.0.1]/", "file:///etc/passwd", "gopher://x", "http://user@127.0.0.1/",
        "nothing", "http://0/", "http://[",
    ],
)  # fmt: skip
def test_a_webhook_never_reaches_into_the_local_network(desk, url):
    with served(desk) as address:
        response = httpx.post(f"{address}/v1/runs", json={"task": "x", "webhook": {"url": url}})
    assert response.status_code == 422, response.text
    assert response.json()["error"]["code"] == "webhook_refused"


# Batches.


def test_a_batch_is_worked_on_as_openai_clients_send_it(desk, tmp_path):
    rows = [
        {"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        for n, body in enumerate(
            [
                {"model": "metier", "messages": [{"role": "user", "content": QUESTION}]},
                {"model": "metier/writer", "messages": [{"role": "user", "content": "write: zwölf"}]},
                {"model": "nobody", "messages": [{"role": "user", "content": "x"}]},
            ]
        )
    ]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with served(desk) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        file = client.files.create(file=tmp_path / "in.jsonl", purpose="batch")
        more = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = client.batches.create(input_file_id=file.id, **more)
        until(lambda: client.batches.retrieve(batch.id).status != "in_progress")
        batch = client.batches.retrieve(batch.id)
        assert batch.status == "completed"
        assert batch.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
        done = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
        said = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in done}
        assert said == {"c0": QUOTE, "c1": "zwölf"}
        (failed,) = client.files.content(batch.error_file_id).text.splitlines()
        assert json.loads(failed)["response"]["status_code"] == 404
        assert client.files.delete(file.id).deleted
        wrong = client.files.create(file=("x.jsonl", b'{"custom_id": "a"}\n'), purpose="batch")
        with pytest.raises(openai.BadRequestError, match="line 1"):
            client.batches.create(input_file_id=wrong.id, **more)


def test_a_batch_is_called_off_and_keeps_what_it_has(desk):
    """One row is answered; those after it would never end."""
    tasks = ["write: 0", *[ENDLESS] * 39]
    rows = [
        {"custom_id": str(n), "url": "/v1/runs", "body": {"task": task, "specialist": "writer"}}
        for n, task in enumerate(tasks)
    ]
    data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    with served(desk) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        file = client.files.create(file=("in.jsonl", data), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/runs", completion_window="24h")  # type: ignore
        until(lambda: client.batches.retrieve(batch.id).request_counts.completed)
        batch = client.batches.cancel(batch.id)
        assert batch.status == "cancelled"
        kept = client.files.content(batch.output_file_id).text.splitlines()
        assert [json.loads(row)["custom_id"] for row in kept] == ["0"]


# Feedback, and what is kept.


def test_feedback_reaches_the_inbox(desk):
    with served(desk) as address, httpx.Client(base_url=address) as client:
        run = client.post("/v1/runs", json={"task": QUESTION, "wait": True}).json()
        body = {"run_id": run["id"], "verdict": "correction", "correction": "1 April 2031"}
        note = client.post("/v1/feedback", json=body)
        assert note.status_code == 201
        assert note.json()["specialist"] == "leases"
        assert (desk.blueprint.state / "inbox" / "leases.jsonl").read_text().count("1 April 2031") == 1
        for wrong, status in [
            ({"verdict": "good"}, 422),
            ({"verdict": "good", "run_id": "nothing"}, 404),
            ({"verdict": "good", "run_id": run["id"], "correction": "x"}, 400),
            ({"verdict": "good", "thread_id": "nothing"}, 404),
        ]:
            assert client.post("/v1/feedback", json=wrong).status_code == status, wrong


def test_records_belong_to_somebody():
    records = Records(None)
    me, other = Owner("me"), Owner("me", "elsewhere")
    records.put("run", "1", me, {"n": 1}, thread_id="t", open=True)
    records.put("run", "2", other, {"n": 2}, thread_id="t")
    records.put("run", "1", me, {"n": 3}, thread_id="t")
    assert [(r.id, r.body, r.open) for r in records.list("run", me)] == [("1", {"n": 3}, False)]
    assert {r.id for r in records.of(None, "t")} == {"1", "2"}
    assert records.erase(other) == 1
    assert records.get("run", "2") is None
    records.close()
