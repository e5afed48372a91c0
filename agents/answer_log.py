"""What became of each task in a few numbers, by which drift is seen; kept with the other records of a person."""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple
from uuid import uuid4

import numpy as np
from langgraph.config import get_config

from ..core.embedding import Embedder, Vectors
from ..core.files import writable
from ..core.run import Plain
from ..memory.open import open_records
from ..memory.records import LOGS, Record, Records
from .cards import Blueprint
from .turn_memory import origin, owner_of

_LONGEST = 300
"""Characters of a task that are kept, for people who look at what was new."""
NOBODY = "nobody"
"""The label of a task that no specialist got."""


class AnswerNumbers(NamedTuple):
    """One turn."""

    id: str
    at: float
    """Seconds since 1970."""
    task: str
    label: str
    """Who was chosen first, or `NOBODY`."""
    answered: bool
    confidence: float
    vector: Vectors
    """Of the task, shape (dimension,)."""

    @property
    def chance(self) -> float:
        """A number in (0, 1] that looks random and is always the same one for this turn: how ties are broken."""
        return (1 + int(hashlib.sha256(self.id.encode()).hexdigest()[:8], 16)) / 2**32


class AnswerLog:
    """The log of one team. Safe for several threads and processes.

    Args:
        plan: The team.
        records: Where it is kept. Whoever opened them closes them.
        embedder: Makes the vectors of the tasks; an answer that was logged with another one is not read.
    """

    def __init__(self, plan: Blueprint, records: Records, embedder: Embedder) -> None:
        self._records, self._embedder, self._kind = records, embedder, log_kind(plan, "answer")

    def add(self, task: str, answer: Plain) -> None:
        """Note the end of the turn that this code is part of. A turn that is taken again is noted once."""
        at, run = origin(), get_config().get("metadata", {}).get("run_id") or uuid4().hex
        parts = (answer.get("route") or {}).get("parts") or []
        body = {
            "task": task[:_LONGEST],
            "label": parts[0]["specialist"] if parts else NOBODY,
            "answered": answer["kind"] == "answer",
            "confidence": float(answer["confidence"]),
            "vector": _packed(self._embedder.embed([task])[0]),
            "embedder": self._embedder.name,
        }
        self._records.put(self._kind, str(run), owner_of(at), body, thread_id=at.get("thread_id", ""))

    def read(self, since: float = 0.0, most: int = 5000) -> list[AnswerNumbers]:
        """The turns after a moment, oldest first; the latest `most` of them."""
        latest = self._records.list(self._kind, most=most)[::-1]
        return [_numbers(r) for r in latest if r.at > since and r.body["embedder"] == self._embedder.name]


def log_records(plan: Blueprint) -> Records | None:
    """Where a team's answers and trials are noted; None where nothing can or shall be: a read-only disk, a log that is
    off.

    Raises:
        StateError: the database cannot be opened.
    """
    kept = plan.card.memory.checkpoints
    logs = plan.card.router.log and writable(plan.state)
    return open_records("sqlite" if kept == "none" else kept, plan.state) if logs else None


def log_kind(plan: Blueprint, *what: str) -> str:
    """The kind of records that a team notes for its own use; several teams may share a database."""
    return "/".join((LOGS, plan.card.name, *what))


def _numbers(record: Record) -> AnswerNumbers:
    body = record.body
    named = (body["task"], body["label"], body["answered"], body["confidence"])
    return AnswerNumbers(record.id, record.at, *named, vector=_unpacked(body["vector"]))


def _packed(vector: Vectors) -> str:
    """A byte a number: enough for cosines."""
    largest = float(np.abs(vector).max()) or 1.0
    return base64.b64encode((vector / largest * 127).round().astype(np.int8).tobytes()).decode()


def _unpacked(text: str) -> Vectors:
    vector = np.frombuffer(base64.b64decode(text), dtype=np.int8).astype(np.float32)
    return vector / (float(np.linalg.norm(vector)) or 1.0)
