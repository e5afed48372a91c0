"""A team for the doors: `leases` quotes a document, `writer` says what it was told to say, `clerk` pays after a person
agreed. It is served by a real server on loopback, by a model that follows a script.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from langchain_core.messages import BaseMessage

from metier.agents.cards import MemoryCard
from metier.agents.team import Team
from metier.serving.http.app import create_app
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
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


def script(messages: list[BaseMessage]) -> str:
    """The model: `write: …` is written, `pay(7)` is a call, and everything else is quoted from the leases."""
    prompt = messages[-1].text
    task = prompt.rpartition("Question:")[2]
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


@contextmanager
def served(team: Team, **more: Any) -> Iterator[str]:
    """A real server for the team on a free port of this machine, in a thread; gives its address."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(team, **more), log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not end"
