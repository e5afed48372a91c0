"""Files that belong to one conversation: indexed beside the team, read by whoever answers in it, gone with it.

attachments/KEY/owner.json     whose they are
attachments/KEY/attached/      the files
attachments/KEY/index/         what is searched
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..core.embedding import Embedder
from ..core.errors import InputError, KnowledgeError, StateError, UnreadableDocument, unknown
from ..core.files import write_atomic
from ..core.types import Part, Passage, Route
from ..memory.store import Owner
from ..specialists.confidence import answer_evidence
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.knowledge.readers import MAX_DOCUMENT_BYTES, READERS, Reader, read
from ..specialists.knowledge.store import DocumentInfo
from .cards import Blueprint
from .second_look import Evidence
from .turn_memory import configured, origin, owner_of

ATTACHED = "attached"
"""The sources of attached files begin with this folder: no document of a specialist is taken for one."""
_MOST_FILES = 20
_LONGEST_NAME = 120
_SPOKEN_OF = 0.35
"""From this evidence on, attached files speak of a task; `answer_evidence`, 0 to 1."""


class Attachments:
    """The files of all conversations of a team. Safe for several threads and processes."""

    def __init__(self, plan: Blueprint, embedder: Embedder | None = None) -> None:
        self._folder, self._embedder = plan.state / "attachments", embedder

    def add(self, thread_id: str, owner: Owner, name: str, data: bytes) -> None:
        """Read a file and index it. One of the same name is replaced.

        Raises:
            InputError: it has no plain name, there are too many, or it cannot be read; nothing is kept then.
        """
        folder = self._of(thread_id)
        check_document(name, data)
        if name not in self._names(folder) and len(self._names(folder)) >= _MOST_FILES:
            raise InputError(f"a conversation has {_MOST_FILES} files at most", hint="remove one of them first")
        write_atomic(folder / "owner.json", json.dumps({"thread_id": thread_id, **configured(owner)}))
        write_atomic(folder / ATTACHED / name, data)
        self._index(folder)

    def remove(self, thread_id: str, name: str) -> None:
        """Take a file out. Raises `InputError` where there is none of that name."""
        folder = self._of(thread_id)
        if name not in self._names(folder):
            raise InputError(unknown("file", name, self._names(folder)))
        (folder / ATTACHED / name).unlink()
        self._index(folder)

    def documents(self, thread_id: str) -> list[DocumentInfo]:
        """The files of a conversation, by name."""
        with self.knowledge(thread_id) as opened:
            return opened.documents() if opened else []

    def names(self, thread_id: str) -> list[str]:
        """Their names."""
        return self._names(self._of(thread_id))

    def owner(self, thread_id: str) -> Owner | None:
        """Whose files they are; None where there are none."""
        kept = _kept(self._of(thread_id) / "owner.json")
        return owner_of(kept) if kept else None

    def file(self, thread_id: str, source: str) -> Path | None:
        """The file behind the source of a citation."""
        folder, name = self._of(thread_id), source.removeprefix(f"{ATTACHED}/")
        return folder / ATTACHED / name if name in self._names(folder) else None

    def search(self, thread_id: str, query: str, k: int = 3, *, rerank: bool = True) -> list[Passage]:
        """The passages of a conversation's files that fit best; `rerank` as for `Knowledge.search`."""
        with self.knowledge(thread_id) as opened:
            return opened.search(query, k, rerank=rerank) if opened else []

    @contextmanager
    def knowledge(self, thread_id: str) -> Iterator[Knowledge | None]:
        """The index of a conversation's files, open inside the block; None where there are none."""
        index = self._of(thread_id) / "index"
        if self._embedder is None or not index.is_dir():
            yield None
            return
        try:
            opened = Knowledge.open(index, self._embedder)
        except KnowledgeError:
            if index.is_dir():
                raise
            yield None  # they were taken out meanwhile
            return
        with closing(opened):
            yield opened

    def threads(self) -> Iterator[tuple[str, Owner]]:
        """The conversations that have files, and whose they are."""
        for path in sorted(self._folder.glob("*/owner.json")):
            if kept := _kept(path):
                yield kept["thread_id"], owner_of(kept)

    def changed(self, thread_id: str) -> float:
        """When a file of a conversation was added last, seconds since 1970; 0 where there are none."""
        try:
            return (self._of(thread_id) / "owner.json").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def erase(self, thread_id: str) -> None:
        """Forget the files of a conversation."""
        shutil.rmtree(self._of(thread_id), ignore_errors=True)

    def _of(self, thread_id: str) -> Path:
        return self._folder / hashlib.sha256(thread_id.encode()).hexdigest()[:32]

    def _names(self, folder: Path) -> list[str]:
        try:
            there = [*(folder / ATTACHED).iterdir()]
        except FileNotFoundError:
            return []
        return sorted(path.name for path in there if path.is_file() and not path.name.startswith("."))

    def _index(self, folder: Path) -> None:
        """Bring the index up to date."""
        if not self._names(folder):
            shutil.rmtree(folder, ignore_errors=True)
            return
        if self._embedder is None:
            raise StateError("files are indexed by a team that is open")
        Knowledge.build([folder / ATTACHED], folder / "index", self._embedder, root=folder).close()


def _kept(path: Path) -> dict[str, Any] | None:
    """Whose files lie there and in which conversation; None where there are none, or none any more."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def check_document(name: str, data: bytes, readers: Mapping[str, Reader] = READERS) -> None:
    """Is this a document that can be read?

    Raises:
        InputError: it has no plain file name, is too large, or cannot be read, with the reason.
    """
    if name != Path(name).name or not name.isprintable() or "\\" in name or name[:1] in ("", "."):
        raise InputError(f"'{name}' is no name for a document", hint="a plain file name, such as manual.pdf")
    if len(name) > _LONGEST_NAME or len(data) > MAX_DOCUMENT_BYTES:
        most = f"{_LONGEST_NAME} characters of a name and {MAX_DOCUMENT_BYTES / 1e6:.0f} MB are the most"
        raise InputError(f"'{name[:_LONGEST_NAME]}' is too large: {most}")
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        try:
            read(path, name, readers)
        except UnreadableDocument as error:
            raise InputError(f"'{name}' cannot be read: {error.message}") from error


class AttachedFiles:
    """What the stations of a turn ask of the files of their conversation.

    Args:
        readers: The specialists who quote from documents.
        evidence: How much the documents of some specialists speak of a task.
    """

    def __init__(self, attachments: Attachments, readers: Sequence[str], evidence: Evidence) -> None:
        self._attachments, self._readers, self._evidence = attachments, readers, evidence

    def passages(self, query: str, *, rerank: bool = True) -> tuple[Passage, ...]:
        """The passages that fit best, of the files of the conversation that this turn belongs to."""
        thread = origin().get("thread_id")
        return tuple(self._attachments.search(thread, query, rerank=rerank)) if thread else ()

    def route(self, task: str, query: str, route: Route) -> Route:
        """A task that the files speak of more than the documents of who was chosen goes to somebody who quotes."""
        found = self.passages(query, rerank=False)
        speak = answer_evidence(query, found)
        if not self._readers or speak < _SPOKEN_OF or self._of_chosen(query, route) >= speak:
            return route
        reader = max(self._readers, key=lambda name: route.probabilities.get(name, 0.0))
        name = found[0].source.removeprefix(f"{ATTACHED}/")
        return route.model_copy(
            update={
                "decision": "one",
                "parts": (Part(specialist=reader, text=task),),
                "reason": f"the attached {name} speaks of it",
            }
        )

    def _of_chosen(self, query: str, route: Route) -> float:
        """What speaks for who was chosen: their documents; of those who work without any, the router."""
        known = self._evidence(query, [part.specialist for part in route.parts])
        return max((e if e < 1.0 else route.probabilities.get(n, e) for n, e in known.items()), default=0.0)
