# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportPossiblyUnboundVariable=false, reportUnhashable=false
"""What those who run a server see of it and rely on: metrics, traces, origins; many callers; documents that change."""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from metier.agents.team import Team
from metier.agents.threads import Threads
from metier.core.errors import ConfigError
from metier.serving.http.caller import Caller
from metier.serving.http.telemetry import Telemetry, telemetry_of_environment
from metier.tests.desk import ENDLESS, LEASES, QUESTION, QUOTE, ended, endless_while, open_desk, served, write_desk
from metier.tests.patience import PATIENCE, until


@pytest.fixture(scope="module")
def desk(tmp_path_factory, models):
    with open_desk(tmp_path_factory.mktemp("desk"), pause=0.02) as team:
        yield team


@contextmanager
def client_of(team, **more):
    with served(team, **more) as address, httpx.Client(base_url=address, timeout=PATIENCE) as client:
        yield client


def ask(client, task, **more):
    return client.post("/v1/runs", json={"task": task, "wait": True, **more}).json()


def story(number, words=15):
    return {"task": f"write: {number} " + "word " * words, "specialist": "writer"}


def endless():
    return {"task": ENDLESS, "specialist": "writer"}


# Metrics.


def figures(client):
    """Name and labels of each figure, in the text that Prometheus reads, to its value."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(s.name, *(s.labels[key] for key in sorted(s.labels))): s.value for f in families for s in f.samples}


def test_metrics_count_what_happened(desk):
    with client_of(desk, workers=3, queue=5) as client:
        before = figures(client)
        assert ask(client, QUESTION)["status"] == "completed"
        assert ask(client, "write: one two three", specialist="writer")["status"] == "completed"
        assert ask(client, "pay(4)", specialist="clerk")["status"] == "requires_action"
        assert client.get("/v1/runs/nothing").status_code == 404
        assert client.get("/no/such/page").status_code == 404
        seen = figures(client)
    assert before["metier_workers",] == 3
    assert before["metier_queue_size",] == 5
    assert seen["metier_answers_total", "answer", "leases"] == 1
    assert seen["metier_answers_total", "waiting", ""] == 1
    assert seen["metier_routes_total", "one", "leases"] == 1
    assert seen["metier_tokens_total", "output", "writer"] == 3
    assert seen["metier_runs_total", "completed"] == 2
    assert seen["metier_runs_total", "requires_action"] == 1
    assert seen["metier_requests_total", "POST", "/v1/runs", "200"] == 3
    assert seen["metier_requests_total", "GET", "/v1/runs/{run_id}", "404"] == 1
    assert seen["metier_requests_total", "GET", "other", "404"] == 1, "what callers make up is no label"
    for stage in ("route", "retrieve", "model", "check", "total"):
        assert seen["metier_stage_seconds_count", stage] >= 1
    assert seen["metier_runs_in_progress",] == seen["metier_runs_queued",] == 0


def test_metrics_show_the_queue_and_who_was_sent_away(desk):
    with client_of(desk, workers=1, queue=2) as client:
        replies = [client.post("/v1/runs", json=endless()) for n in range(4)]
        until(lambda: figures(client)["metier_runs_in_progress",])
        seen = figures(client)
        assert [reply.status_code for reply in replies] == [202, 202, 202, 429]
        assert (seen["metier_runs_in_progress",], seen["metier_runs_queued",]) == (1, 2)
        assert seen["metier_requests_total", "POST", "/v1/runs", "429"] == 1
        for reply in replies[:3]:
            client.post(f"/v1/runs/{reply.json()['id']}/cancel")


def test_metrics_are_for_those_who_run_the_server_and_count_who_was_turned_away(desk):
    def identify(request):
        scopes = tuple(request.headers["x-scopes"].split()) if "x-scopes" in request.headers else ()
        return Caller(user="anna", scopes=scopes)

    with client_of(desk, identify=identify) as client:
        assert client.get("/metrics").status_code == 403
        assert client.get("/metrics", headers={"x-scopes": "ask read write"}).status_code == 403
        assert client.post("/v1/runs", json=story(1), headers={"x-scopes": "read"}).status_code == 403
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        client.headers["x-scopes"] = "admin"
        seen = figures(client)
    assert seen["metier_requests_total", "GET", "other", "403"] == 2
    assert seen["metier_requests_total", "POST", "other", "403"] == 1


def test_answers_are_told_although_a_conversation_is_forgotten_meanwhile(desk, monkeypatch):
    whole = Threads.list

    def with_forgotten(threads, *args):
        return [one.model_copy(update={"id": name}) for one in whole(threads, *args) for name in ("forgotten", one.id)]

    with client_of(desk) as client:
        client.post("/v1/runs", json={"task": QUESTION, "wait": True, "thread_id": "kept"})
        monkeypatch.setattr(Threads, "list", with_forgotten)
        shown = client.get("/api/answers").json()
    assert QUESTION in [one["task"] for one in shown if one["thread_id"] == "kept"]


# Traces.


def test_a_run_is_a_trace_under_the_conventions_names(desk):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with client_of(desk, telemetry=Telemetry(provider)) as client:
        body = {"task": QUESTION, "wait": True, "thread_id": "traced"}
        run = client.post("/v1/runs", json=body, headers={"traceparent": caller}).json()
        shown = client.get("/api/answers").json()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    whole, agent, chat = (spans[name] for name in ("invoke_workflow desk", "invoke_agent leases", "chat scripted"))
    assert f"{whole.context.trace_id:032x}" == caller.split("-")[1]
    assert f"{whole.parent.span_id:016x}" == caller.split("-")[2]
    assert whole.attributes["gen_ai.conversation.id"] == "traced"
    assert whole.attributes["metier.run.id"] == run["id"]
    assert whole.attributes["metier.route.specialists"] == ("leases",)
    assert agent.parent.span_id == whole.context.span_id
    assert agent.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert agent.attributes["gen_ai.agent.version"] == run["answer"]["version"]
    assert chat.parent.span_id == agent.context.span_id == spans["retrieval leases"].parent.span_id
    assert chat.attributes["gen_ai.provider.name"] == chat.attributes["gen_ai.request.model"] == "scripted"
    assert chat.attributes["gen_ai.usage.output_tokens"] == run["answer"]["usage"]["output_tokens"]
    assert whole.start_time <= agent.start_time <= chat.start_time <= chat.end_time <= agent.end_time <= whole.end_time
    told = str([dict(span.attributes) for span in spans.values()])
    assert QUESTION not in told
    assert QUOTE not in told
    (steps,) = [one["steps"] for one in shown if one["run_id"] == run["id"]]
    assert [(s["kind"], s["depth"]) for s in steps if s["name"] and s["kind"] != "embed"] == [
        ("specialist", 0), ("retrieve", 1), ("model", 1),
    ]  # fmt: skip


def test_a_tool_that_waits_for_a_person_is_no_fault_in_its_trace(desk):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with client_of(desk, telemetry=Telemetry(provider)) as client:
        run = ask(client, "pay(8)", specialist="clerk")
        body = {"decisions": [{"type": "approve"}], "wait": True}
        assert client.post(f"/v1/runs/{run['id']}/resume", json=body).json()["status"] == "completed"
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans].count("invoke_workflow desk") == 2, "before and after the decision"
    assert {span.attributes["gen_ai.tool.name"] for span in spans if span.name == "execute_tool pay"} == {"pay"}
    assert all(span.status.is_unset for span in spans)


def test_nothing_is_told_to_anybody_unless_it_is_set_up(monkeypatch, capsys):
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with telemetry_of_environment() as telemetry:
        assert telemetry is None
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with pytest.raises(ConfigError, match="carrier-pigeon"), telemetry_of_environment():
        pass
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    with telemetry_of_environment() as telemetry:
        assert isinstance(telemetry, Telemetry)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with telemetry_of_environment() as telemetry:
        assert telemetry is None


# Pages of other servers.


def test_pages_of_other_servers_may_not_read_answers_unless_they_are_named(desk):
    asking = {"Origin": "https://intranet.example", "Access-Control-Request-Method": "POST"}
    with client_of(desk) as client:
        assert "access-control-allow-origin" not in client.get("/v1/models", headers=asking).headers
        assert "access-control-allow-origin" not in client.options("/v1/runs", headers=asking).headers
    with client_of(desk, origins=["https://intranet.example"]) as client:
        assert client.options("/v1/runs", headers=asking).headers["access-control-allow-origin"] == asking["Origin"]
        told = client.get("/v1/models", headers=asking).headers
        assert told["access-control-allow-origin"] == asking["Origin"]
        assert "access-control-allow-credentials" not in told
        other = {**asking, "Origin": "https://elsewhere.example"}
        assert "access-control-allow-origin" not in client.get("/v1/models", headers=other).headers


# Many callers.


def test_at_twice_the_load_callers_are_answered_or_told_when_to_come_back(desk):
    """Each asks again as it is told to, and in the end everybody has an answer."""
    with client_of(desk, workers=2, queue=4) as client:
        refused, threads = [], 12

        def work(number):
            for _ in range(500):
                reply = client.post("/v1/runs", json={**story(number), "wait": True})
                if reply.status_code != 429:
                    return reply
                assert reply.json()["error"]["code"] == "queue_full"
                refused.append(number)
                time.sleep(float(reply.headers["retry-after"]) / 4)
            raise AssertionError("never answered")

        with ThreadPoolExecutor(threads) as pool:
            replies = list(pool.map(work, range(threads)))
    assert {reply.status_code for reply in replies} == {200}
    assert [reply.json()["answer"]["text"].split()[0] for reply in replies] == [str(n) for n in range(threads)]
    assert refused


def test_a_closed_chat_ends_the_model_s_work(desk):
    with client_of(desk) as client:
        asked = {
            "model": "metier/writer",
            "stream": True,
            "messages": [{"role": "user", "content": ENDLESS}],
        }
        with client.stream("POST", "/v1/chat/completions", json=asked) as response:
            assert sum("content" in line for line, _ in zip(response.iter_lines(), range(6), strict=False)) > 1
        until(lambda: not figures(client)["metier_runs_in_progress",])
        assert figures(client)["metier_runs_total", "cancelled"] == 1


def test_what_is_broken_off_when_a_server_must_end_goes_on_in_the_next(desk, tmp_path):
    """Two are being written, and two wait."""
    there = tmp_path / "there"
    there.touch()
    with client_of(desk, workers=2, drain_seconds=0.1) as client:
        asked = [{"task": endless_while(there, f"{n} is told"), "specialist": "writer"} for n in range(4)]
        ids = [client.post("/v1/runs", json=body).json()["id"] for body in asked]
        until(lambda: figures(client)["metier_runs_in_progress",] == 2)
    there.unlink()
    with client_of(desk) as client:
        runs = [ended(client, id) for id in ids]
    assert [run["status"] for run in runs] == ["completed"] * 4
    assert [run["answer"]["text"] for run in runs] == [f"{n} is told" for n in range(4)]


def test_eight_chats_at_once_get_their_words_side_by_side(desk):
    """None waits for another one's answer to end: none of them ends, and all are heard."""
    heard = threading.Barrier(8, timeout=PATIENCE)
    with client_of(desk, workers=8) as client:

        def read(number):
            with client.stream("POST", "/v1/runs", json={**endless(), "stream": True}) as response:
                tokens = (line for line in response.iter_lines() if line == "event: token")
                for _ in range(3):
                    assert [next(tokens) for _ in range(5)]
                    heard.wait()

        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(read, range(8)))) == 8


# What changes while the server runs.


@pytest.fixture(scope="module")
def built(tmp_path_factory, models):
    return write_desk(tmp_path_factory.mktemp("built") / "desk")


@pytest.fixture
def folder(built, tmp_path):
    return shutil.copytree(built, tmp_path / "desk")


def test_what_was_built_anew_is_taken_over_without_dropping_a_request(folder):
    with Team.load(folder) as team, client_of(team) as client:
        before, over, replies = team.specialists["leases"].version, threading.Event(), []

        def work(number):
            while not over.is_set():
                replies.append(client.post("/v1/runs", json={"task": QUESTION, "specialist": "leases", "wait": True}))

        with ThreadPoolExecutor(4) as pool:
            for number in range(4):
                pool.submit(work, number)
            (folder / "leases" / "contracts.md").write_text(LEASES.replace("4,200", "4,500"))
            with client.stream("POST", "/api/build") as response:
                assert "event: report" in response.read().decode()
            done = len(replies)
            until(lambda: len(replies) >= done + 8)
            over.set()
        after = team.specialists["leases"].version
    assert before != after
    assert {reply.status_code for reply in replies} == {200}
    answers = [reply.json()["answer"] for reply in replies]
    assert {answer["text"] for answer in answers} == {QUOTE}
    assert {answer["version"] for answer in answers} == {before, after}
    assert answers[-1]["version"] == after


def test_a_server_follows_its_documents(folder):
    """What changed while nobody followed is built at the start; then what changes is."""
    said, bicycle = list[str](), folder / "leases" / "bicycle.md"
    bicycle.write_text("# Bicycle\n\nThe bicycle stands behind the depot.\n")
    with Team.load(folder) as team, client_of(team, follow=said.append) as client:

        def found(known):
            question = {"q": "Where is the bicycle?", "specialist": "leases"}
            hits = client.get("/api/search", params=question).json()
            return any("bicycle" in hit["text"] for hit in hits) is known

        until(lambda: found(True))
        bicycle.unlink()
        until(lambda: found(False))
        assert client.get("/api/build").json() == {"changed": [], "building": None}
        assert ask(client, QUESTION)["answer"]["text"] == QUOTE
    assert sum(line.startswith("following") for line in said) == 1, said
    assert sum(line.startswith("built in") for line in said) == 2, said
