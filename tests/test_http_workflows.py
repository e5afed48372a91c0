"""Workflows on a real server: as runs, by a webhook, by files in a watched folder; people decide over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from metier.agents.team import Team
from metier.tests.desk import ended, served
from metier.tests.patience import PATIENCE, until
from metier.tests.shop import lines
from metier.tests.workflow_team import open_office

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("office")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "service.yaml").write_text(SERVICE)
    (folder / "workflows" / "inbox.yaml").write_text(INBOX)
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


def test_a_run_that_failed_says_why(client: httpx.Client) -> None:
    made = client.post("/v1/workflows/inbox", json={"file": "fail.txt"}).json()
    failed = ended(client, made)
    assert failed["status"] == "failed"
    assert "no engine" in failed["error"]["message"]
