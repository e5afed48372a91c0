"""Workflows on a real server: as runs, by a webhook, by files in a watched folder; people decide over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from metier.agents.team import Team
from metier.agents.workflows.execute import Workflow
from metier.agents.workflows.files import read_plans
from metier.tests.desk import ended, served
from metier.tests.patience import PATIENCE, until
from metier.tests.shop import lines
from metier.tests.workflow_team import open_office
from metier.tools.policy import Reject

SERVICE = """
description: How often a machine is serviced.
examples: [how often is the filler serviced?]
parameters:
  machine: {description: Which machine}
steps:
  quote: {ask: manuals, task: "service of {{ machine }}"}
  sure: {ask_person: "Tell {{ quote }}?", choices: [tell, hold]}
  said: {join: "{{ quote }}: {{ sure }}"}
"""
INBOX = """
parameters: {file: {}}
watch: {folder: inbox, pattern: "*.txt", parameter: file}
steps:
  seen: {ask: manuals, task: "service of {{ file.split('/') | last }}"}
"""


WRITTEN = """
description: Writes a report.
parameters: {what: {}}
steps:
  quick: {ask: manuals, task: service of pumps}
  held: {ask: manuals, task: "{{ what }}"}
  report: {report: out.md, template: "{{ quick }} {{ held }}"}
"""
TWICE = """
steps:
  both:
    ask: manuals
    task: How often does nobody look at the filler, and who makes the manuals?
    on_failure: replan
"""
CIRCLE = "steps: {a: {join: '{{ b }}'}, b: {join: '{{ a }}'}}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("office")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "service.yaml").write_text(SERVICE)
    (folder / "workflows" / "inbox.yaml").write_text(INBOX)
    (folder / "workflows" / "written.yaml").write_text(WRITTEN)
    (folder / "workflows" / "twice.yaml").write_text(TWICE)
    (folder / "workflows" / "circle.yaml").write_text(CIRCLE)
    (folder / "workflows" / "broken.yaml").write_text("steps: {a: {ask: nobody, task: x}}")
    return folder


@pytest.fixture(scope="module")
def team(folder: Path) -> Iterator[Team]:
    with open_office(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(team: Team) -> Iterator[httpx.Client]:
    with served(team) as address, httpx.Client(base_url=address, timeout=PATIENCE) as client:
        yield client


def test_a_workflow_is_a_run_and_a_person_decides_over_http(client: httpx.Client) -> None:
    made = client.post("/v1/runs", json={"workflow": "service", "parameters": {"machine": "filler"}})
    assert (made.status_code, made.json()["task"]) == (202, "workflow service")
    waits = ended(client, made.json())
    assert waits["status"] == "requires_action"
    assert waits["answer"]["data"]["action_requests"][0]["args"]["choices"] == ["tell", "hold"]
    url = f"/v1/runs/{waits['id']}/resume"
    wrong = client.post(url, json={"decisions": [{"type": "approve"}, {"type": "approve"}]})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "wrong_decisions")
    assert client.post(url, json={"decisions": [{"type": "approve"}]}).status_code == 202
    done = ended(client, waits)
    assert (done["status"], done["answer"]["text"]) == ("completed", "about service of filler: tell")
    assert done["answer"]["citations"][0]["source"] == "manuals.pdf"
    assert done["thread_id"] == f"workflow-{done['id']}"


def test_its_steps_are_told_as_they_happen(client: httpx.Client) -> None:
    asked = {"workflow": "service", "parameters": {"machine": "labeller"}, "stream": True}
    with client.stream("POST", "/v1/runs", json=asked) as stream:
        text = "".join(stream.iter_text())
    assert text.index('"step":"quote"') < text.index("event: waiting")
    assert '"state":"done"' in text


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({"workflow": "servise"}, 404, "did you mean 'service'"),
        ({"workflow": "service"}, 422, "'machine' is missing (Which machine)"),
        ({"workflow": "service", "parameters": {"machin": "x"}}, 422, "did you mean 'machine'"),
        ({"workflow": "broken"}, 422, "unknown specialist 'nobody'"),
        ({"workflow": "service", "parameters": []}, 422, "dict"),
        ({}, 422, "required"),
    ],
)
def test_what_cannot_run_is_told(client: httpx.Client, asked: dict[str, Any], status: int, says: str) -> None:
    made = client.post("/v1/runs", json=asked)
    assert (made.status_code, says in made.text) == (status, True), made.text


def test_a_webhook_of_another_program_starts_one_once(client: httpx.Client, folder: Path) -> None:
    again = [
        client.post("/v1/workflows/inbox", json={"file": "a/hook.txt"}, headers={"Idempotency-Key": "7"}).json()["id"]
        for _ in range(2)
    ]
    assert again[0] == again[1]
    done = ended(client, {"id": again[0]})
    assert done["answer"]["text"] == "about service of hook.txt"
    assert lines(folder / "asked.txt").count("service of hook.txt") == 1


def test_a_new_file_in_a_watched_folder_starts_one(client: httpx.Client, folder: Path) -> None:
    (folder / "inbox").mkdir()
    (folder / "inbox" / "note.txt").write_text("hello")
    (folder / "inbox" / "note.pdf").write_text("hello")
    until(lambda: "service of note.txt" in lines(folder / "asked.txt"))
    for later in ("one.txt", "two.txt"):  # each is found at another look
        (folder / "inbox" / later).write_text("hello")
        until(lambda later=later: f"service of {later}" in lines(folder / "asked.txt"))
    assert [line for line in lines(folder / "asked.txt") if "note" in line] == ["service of note.txt"]


def test_workflows_are_listed_with_their_state(client: httpx.Client) -> None:
    shown = {one["name"]: one for one in client.get("/v1/workflows").json()}
    service = shown["service"]
    assert service["parameters"]["machine"]["description"] == "Which machine"
    states = {node["name"]: node["state"] for node in service["graph"]["nodes"]}
    assert states["quote"] == "done"
    assert service["runs"][0]["status"] in ("waiting", "done")
    assert "flowchart TD" in service["mermaid"]
    assert service["parameters_schema"]["required"] == ["machine"]
    assert (service["faults"], shown["broken"]["faults"]) == ([], shown["broken"]["faults"][:1])
    assert "wait for each other" in shown["circle"]["faults"][0]
    edges = [(edge["from"], edge["to"]) for edge in service["graph"]["edges"]]
    assert edges == [("quote", "sure"), ("sure", "said")], "quote → said follows from them"


def _view(client: httpx.Client, run: dict[str, Any], workflow: str = "service") -> dict[str, Any]:
    return client.get(f"/v1/workflows/{workflow}/runs/{run['id']}").json()


def test_a_run_is_shown_step_by_step_also_while_it_is_at_work(client: httpx.Client, folder: Path) -> None:
    made = client.post("/v1/workflows/written", json={"what": "gate"}).json()
    until(lambda: "quick" in _view(client, made, "written")["run"]["results"])
    view = _view(client, made, "written")
    assert view["status"] == "running"
    assert view["run"]["results"]["quick"]["text"] == "about service of pumps"
    (folder / "open").touch()
    ended(client, made)
    view = _view(client, made, "written")
    assert (view["status"], view["description"]) == ("done", "Writes a report.")
    assert {node["name"]: node["state"] for node in view["graph"]["nodes"]} == {
        "quick": "done", "held": "done", "report": "done",
    }  # fmt: skip
    path = view["run"]["result"]["path"]
    files = f"/v1/workflows/written/runs/{made['id']}/files"
    report = client.get(files, params={"path": path})
    assert report.text.startswith("about service of pumps")
    assert report.headers["content-disposition"] == 'attachment; filename="out.md"'
    for other in (str(folder / "workflows" / "service.yaml"), path.replace("out.md", "../out.md"), ""):
        assert client.get(files, params={"path": other}).status_code == 404
    assert client.get(f"/v1/workflows/service/runs/{made['id']}").status_code == 404


def test_a_run_is_replayed_from_a_step(client: httpx.Client, folder: Path) -> None:
    first = ended(client, client.post("/v1/workflows/service", json={"machine": "press"}).json())
    client.post(f"/v1/runs/{first['id']}/resume", json={"decisions": [{"type": "approve"}]})
    ended(client, first)
    asked = lines(folder / "asked.txt")
    again = {"workflow": "service", "replay": {"run": first["id"], "from_step": "sure"}}
    made = client.post("/v1/runs", json=again)
    waits = ended(client, made.json())
    assert (made.status_code, waits["status"], lines(folder / "asked.txt")) == (202, "requires_action", asked)
    client.post(f"/v1/runs/{waits['id']}/resume", json={"decisions": [{"type": "reject"}]})
    assert ended(client, waits)["answer"]["text"] == "about service of press: hold"
    for replay, status, says in (
        ({"run": "nobody", "from_step": "sure"}, 404, "no run 'nobody'"),
        ({"run": first["id"], "from_step": "shure"}, 422, "did you mean 'sure'"),
    ):
        wrong = client.post("/v1/runs", json={**again, "replay": replay})
        assert (wrong.status_code, says in wrong.text) == (status, True), wrong.text
    assert client.post("/v1/runs", json={"task": "x", "replay": again["replay"]}).status_code == 422


def test_a_run_that_a_command_began_is_decided_over_http_and_the_other_way_round(
    client: httpx.Client, team: Team
) -> None:
    workflow = Workflow(read_plans(team.blueprint.root)["service"], team)
    workflow.run({"machine": "crane"}, "by-command")
    assert _view(client, {"id": "by-command"})["status"] == "waiting"
    client.post("/v1/runs/by-command/resume", json={"decisions": [{"type": "approve"}]})
    assert ended(client, {"id": "by-command"})["answer"]["text"] == "about service of crane: tell"
    waits = ended(client, client.post("/v1/workflows/service", json={"machine": "lift"}).json())
    workflow.resume(waits["id"], [Reject()])
    known = client.get(f"/v1/runs/{waits['id']}").json()
    assert (known["status"], known["answer"]["text"]) == ("completed", "about service of lift: hold")


def test_a_question_that_nobody_could_answer_is_taken_apart_once_more(client: httpx.Client) -> None:
    done = ended(client, client.post("/v1/workflows/twice", json={}).json())
    first, second = done["answer"]["text"].splitlines()
    assert "(left out: nothing in its documents answers this" in first
    assert second == "who makes the manuals?: about who makes the manuals?"


def test_a_run_that_failed_says_why(client: httpx.Client) -> None:
    made = client.post("/v1/workflows/inbox", json={"file": "fail.txt"}).json()
    failed = ended(client, made)
    assert failed["status"] == "failed"
    assert "no engine" in failed["error"]["message"]
