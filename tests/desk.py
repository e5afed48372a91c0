"""A team for the doors: `leases` quotes a document, `writer` says what it was told to say, `clerk` pays after a person
agreed. It is served by a real server on loopback, by a model that follows a script.

Where a test needs work that is still under way, it asks for a story that never ends (`ENDLESS`) or for one that is
written when the test says so (`held`, `endless_while`): how fast the machine is plays no part.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from langchain_core.messages import BaseMessage

from metier.agents.build import build
from metier.agents.cards import Blueprint, MemoryCard
from metier.agents.team import Team
from metier.serving.http.app import create_app
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.tests.patience import PATIENCE, until
from metier.tests.shop import planned

LEASES = """# Leases

## Depot

The lease of the depot ends on 31 March 2031. The rent is 4,200 euros a month.

## Office

The lease of the office ends on 30 June 2028. The deposit is three months' rent.
"""
QUESTION = "When does the lease of the depot end?"
QUOTE = "31 March 2031"
STORY = "write: once there was a small machine that counted all the lamps in the harbour every evening"
ENDLESS = "write on and on"
"""Longer than any test has patience: only who calls it off, or leaves, sees its end."""


def held(file: Path, text: str) -> str:
    """A task for the writer, who begins when the file is gone."""
    return f"write when {file} is gone: {text}"


def endless_while(file: Path, text: str) -> str:
    """A task for the writer, who goes on for ever when the file is there as he begins, and else says the text."""
    return f"{ENDLESS} while {file} is there: {text}"


def script(messages: list[BaseMessage]) -> str:
    """The model: `write: …` is written, `pay(7)` is a call, and everything else is quoted from the leases."""
    prompt = messages[-1].text
    task = prompt.rpartition("Question:")[2]
    if while_there := re.search(rf"{ENDLESS} while (\S+) is there: (.*)", task, re.DOTALL):
        return "word " * 100_000 if Path(while_there[1]).exists() else while_there[2].strip()
    if ENDLESS in task:
        return "word " * 100_000
    if waits := re.search(r"write when (\S+) is gone: (.*)", task, re.DOTALL):
        until(lambda: not Path(waits[1]).exists())
        return waits[2].strip()
    if "write:" in task:
        return task.rpartition("write:")[2].strip()
    if re.search(r"\w+\(\w+\)", task):
        return planned(messages)
    return QUOTE if "depot" in task else "not found"


def cards(folder: Path) -> list[SpecialistCard]:
    """The three."""
    (folder / "leases").mkdir(parents=True, exist_ok=True)
    (folder / "leases" / "contracts.md").write_text(LEASES)
    leases = SpecialistCard(
        name="leases",
        description="Answers questions about the leases of our buildings.",
        knowledge=KnowledgeCard(sources=["leases"]),
        examples=[QUESTION, "What is the rent of the office?", "How large is the deposit of the office?"],
        abstain_below=0.0,
    )
    writer = SpecialistCard(
        name="writer",
        description="Writes down small stories.",
        style="free",
        examples=["write: a story about a lamp", "write: once upon a time", "write: a tale"],
        abstain_below=0.0,
    )
    clerk = SpecialistCard(
        name="clerk",
        description="Pays and books orders.",
        style="act",
        tools=["metier.tests.shop:tools"],
        examples=["pay(7)", "book(9) then pay(9)", "pay(12) for the order"],
        abstain_below=0.0,
    )
    return [leases, writer, clerk]


def open_desk(folder: Path, *, pause: float | None = None, checkpoints: str = "sqlite", **more: Any) -> Team:
    """Build and open the team."""
    return Team.of(
        "desk",
        *cards(folder),
        folder=folder,
        engine=ScriptedEngine(script, pause=pause),
        memory=MemoryCard(checkpoints=checkpoints, facts="none"),
        policy={"ask": ["pay"]},
        guardrails=["length"],
        **more,
    )


def scripted(base: object, adapters: Mapping[str, Path], **options: Any) -> ScriptedEngine:
    """The engine of a team on the disk: `engine: metier.tests.desk:scripted`. It writes 50 words a second."""
    return ScriptedEngine(script, list(adapters), pause=0.02)


def write_desk(folder: Path, **memory: str) -> Path:
    """The team as files, for the `metier` command; it is built. `memory` is added to that part of its card."""
    for card in cards(folder):
        place = folder / card.name
        place.mkdir(parents=True, exist_ok=True)
        plain = card.model_dump(mode="json", exclude_defaults=True)
        if card.knowledge:
            plain["knowledge"]["sources"] = ["."]
            (folder / card.name / "contracts.md").write_text(LEASES)
        (place / "specialist.yaml").write_text(json.dumps(plain))
    team = {
        "name": "desk",
        "specialists": [card.name for card in cards(folder)],
        "engine": "metier.tests.desk:scripted",
        "memory": {"facts": "none", **memory},
        "policy": {"ask": ["pay"]},
        "guardrails": ["length"],
    }
    (folder / "team.yaml").write_text(json.dumps(team))
    build(Blueprint.read(folder))
    return folder


@contextmanager
def serve_command(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`metier serve` as a process of its own; gives it and its address. It is killed at the end if it still runs."""
    (folder / ".metier" / "server.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "metier", "serve", "-t", str(folder), "--port", "0", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        found = folder / ".metier" / "server.json"

        def address() -> str | None:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            url = json.loads(found.read_text())["url"] if found.exists() else ""
            return url if url and _answers(url) else None

        yield process, until(address, pause=0.05)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def busy(url: str, runs: int) -> None:
    """Wait until so many runs are at work or wait."""
    until(lambda: httpx.get(f"{url}/health").json()["active"] >= runs, pause=0.01)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").is_success
    except httpx.TransportError:
        return False


@contextmanager
def served(team: Team, **more: Any) -> Iterator[str]:
    """A real server for the team on a free port of this machine, in a thread; gives its address."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(team, **more), log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), pause=0.01)
        assert server.started, "the server did not start"
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server did not end"


def ended(client: httpx.Client, run: str | Mapping[str, Any]) -> dict[str, Any]:
    """The run once it has ended or waits for a person, by its name or what was told of it."""
    name = run if isinstance(run, str) else run["id"]

    def there() -> dict[str, Any] | None:
        now = client.get(f"/v1/runs/{name}").json()
        return now if now["status"] not in ("queued", "in_progress") else None

    return until(there)
