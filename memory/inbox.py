"""What people said about answers: one plain JSONL file a specialist, waiting for somebody to look at it.

inbox/maintenance.jsonl     {"verdict": "correction", "task": "…", "answer": "…", "correction": "45 Nm", …}
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from filelock import FileLock
from pydantic import ConfigDict, Field, ValidationError

from ..core.errors import StateError
from ..core.files import write_atomic
from ..core.types import Value

Verdict = Literal["good", "bad", "correction"]


class Note(Value):
    """What somebody said about one answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str = Field(default_factory=lambda: uuid4().hex[:12])
    at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """UTC, ISO 8601."""
    specialist: str
    verdict: Verdict
    task: str
    answer: str
    """What the specialist said."""
    correction: str | None = None
    """What it should have said."""
    source: str | None = None
    """The document that it cited first."""
    version: str | None = None
    """Of the specialist."""
    thread_id: str = ""
    run_id: str = ""


class Inbox:
    """The notes in a folder. Safe for several processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, note: Note) -> None:
        """Keep a note."""
        self._change(note.specialist, lambda notes: [*notes, note])

    def notes(self, specialist: str) -> list[Note]:
        """The notes about a specialist, oldest first.

        Raises:
            StateError: a line is no note; names the line.
        """
        path = self._path(specialist)
        found = []
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n") if path.is_file() else [], 1):
            if not line.strip():
                continue
            try:
                found.append(Note.model_validate_json(line))
            except ValidationError as error:
                raise StateError(
                    f"{path}:{number}: {error.errors()[0]['msg']}", hint="mend or delete the line"
                ) from error
        return found

    def settle(self, specialist: str, id: str) -> None:
        """Take a note out: it was decided upon."""
        self._change(specialist, lambda notes: [n for n in notes if n.id != id])

    def _change(self, specialist: str, how: Callable[[list[Note]], list[Note]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f".{specialist}.lock"):
            notes = how(self.notes(specialist))
            write_atomic(self._path(specialist), "".join(f"{n.model_dump_json(exclude_none=True)}\n" for n in notes))

    def _path(self, specialist: str) -> Path:
        return self.folder / f"{specialist}.jsonl"
