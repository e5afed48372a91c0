"""The passages on disk: one SQLite file with documents, passages and vectors. It knows nothing about searching."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ...core.embedding import Vectors
from ...core.errors import KnowledgeError
from ...core.files import write_atomic
from ...core.text import terms
from ...core.types import Passage
from .documents import Document

# Short forms that the documents define themselves: "work order (WO)".


_IN_BRACKETS = re.compile(r"\(([A-Za-z][\w&/.-]{1,9})\)")


_WORD = re.compile(r"[\w'’&/.-]+")


_REACH = 120
"""Characters before the bracket that may hold the long form."""


_TRUSTED = 0.6
"""Share of the definitions of a short form that must agree before a question's short form is spelled out."""


Definition = tuple[str, str]
"""Short form, long form."""


def definitions(text: str) -> Iterator[Definition]:
    """Every short form that is introduced in brackets behind its long form.

    >>> list(definitions("Close the work order (WO) when the pump runs."))
    [('WO', 'work order')]
    """
    for found in _IN_BRACKETS.finditer(text):
        short = found[1]
        letters = short[:-1] if short.endswith("s") else short
        if sum(map(str.isupper, letters)) < 2:
            continue
        before = text[max(0, found.start() - _REACH) : found.start()].rstrip()
        words = list(_WORD.finditer(before))[-min(len(letters) + 5, 2 * len(letters)) :]
        long = _long_form(letters, before[words[0].start() :]) if words else None
        if long and " " in long and len(long) > len(short):
            yield short, long


def _long_form(short: str, before: str) -> str | None:
    """The shortest end of `before` whose letters hold the short form in order, its first letter at a word's start."""
    place = len(before)
    for number in range(len(short) - 1, -1, -1):
        letter = short[number].lower()
        if not letter.isalnum():
            continue
        place -= 1
        while place >= 0 and (
            before[place].lower() != letter or (number == 0 and place > 0 and before[place - 1].isalnum())
        ):
            place -= 1
        if place < 0:
            return None
    return before[place:]


class Abbreviations:
    """The definitions of a whole index, to widen questions."""

    def __init__(self, known: Iterable[Definition]) -> None:
        self._short: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        self._long: dict[str, Counter[str]] = defaultdict(Counter)
        for short, long in known:
            self._short[tuple(terms(long))][short] += 1
            self._long[short][long.lower()] += 1
        self._longest = max(map(len, self._short), default=0)

    def widen(self, query: str) -> str:
        """The question with the other form of its abbreviations added, in brackets as a text would have it."""
        added = [*self._shorts(query), *self._longs(query)]
        return f"{query.rstrip(' ?')} ({', '.join(added)})" if added else query

    def _shorts(self, query: str) -> list[str]:
        words, written, found = terms(query), set(_WORD.findall(query)), []
        for size in range(min(self._longest, len(words)), 1, -1):
            for first in range(len(words) - size + 1):
                shorts = self._short.get(tuple(words[first : first + size]))
                if shorts:
                    found.append(shorts.most_common(1)[0][0])
        return [short for short in dict.fromkeys(found) if short not in written]

    def _longs(self, query: str) -> list[str]:
        found = []
        shouted = query.isupper()  # then capitals say nothing about a word
        for word in () if shouted else dict.fromkeys(_WORD.findall(query)):
            longs = self._long.get(word)
            if longs:
                long, times = longs.most_common(1)[0]
                if times >= _TRUSTED * longs.total() and not set(terms(long)) <= set(terms(query)):
                    found.append(long)
        return found


PASSAGES_FILE = "passages.sqlite"
"""In the folder of a generation."""


_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (id INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL,
    title TEXT NOT NULL, text TEXT NOT NULL, refused TEXT, notes TEXT NOT NULL DEFAULT '[]');
CREATE TABLE passages (id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    ordinal INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, page INTEGER, heading TEXT NOT NULL,
    text TEXT NOT NULL, context TEXT NOT NULL, terms TEXT NOT NULL, vector BLOB NOT NULL, node TEXT NOT NULL UNIQUE);
CREATE UNIQUE INDEX by_document ON passages (document, ordinal);
CREATE TABLE abbreviations (document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    short TEXT NOT NULL, long TEXT NOT NULL);
CREATE INDEX abbreviations_by_document ON abbreviations (document);
"""


_JOINED = "passages p JOIN documents d ON d.id = document"


_PASSAGE = "source, ordinal, start, end, page, heading, p.text"


_ALL = f"FROM {_JOINED} ORDER BY source, ordinal"
"""All passages in an order that does not tell in which order the documents came."""


@dataclass(frozen=True)
class DocumentInfo:
    """A document that the index holds."""

    source: str
    title: str
    passages: int
    characters: int
    sha256: str


@dataclass(frozen=True)
class NewPassage:
    """A passage on its way into the store."""

    start: int
    end: int
    page: int | None
    heading: tuple[str, ...]
    text: str
    context: str
    """Title and headings: what a reader of the whole document would know."""

    @property
    def searchable(self) -> str:
        """What is embedded and indexed."""
        return _below_titles(self.context, self.text)


def _below_titles(context: str, text: str) -> str:
    return f"{context}\n{text}" if context else text


def ordinals(name: str) -> tuple[str, int, int]:
    """Source, first and last number of a passage's id: `source#3`, or `source#3-5` for several that are read as one.

    >>> ordinals("a.md#3-5")
    ('a.md', 3, 5)
    """
    source, _, numbers = name.rpartition("#")
    found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", numbers)
    return (source, int(found[1]), int(found[2] or found[1])) if found else (source, -1, -1)


class PassageStore:
    """Reads and, when opened with `write`, changes the SQLite file. Safe to use from several threads.

    Raises `sqlite3.Error` when the file is damaged, locked or the disk is full.
    """

    def __init__(self, file: Path, *, write: bool = False) -> None:
        self._lock = threading.RLock()
        mode = "rwc" if write else "ro"
        uri = f"{file.resolve().as_uri()}?mode={mode}"
        self._db = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA foreign_keys = ON")
        if write and not self._query("SELECT 1 FROM sqlite_master LIMIT 1"):
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """All changes inside the block, or none."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def meta(self) -> dict[str, Any]:
        """What the index was built with."""
        return {key: json.loads(value) for key, value in self._query("SELECT key, value FROM meta")}

    def set_meta(self, values: Mapping[str, Any]) -> None:
        """Replace what `meta` gives."""
        self._db.execute("DELETE FROM meta")
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(v)) for key, v in values.items()])

    def versions(self) -> dict[str, str]:
        """Source to SHA-256 of every document that was looked at, the refused ones too."""
        return dict(self._query("SELECT source, sha256 FROM documents"))

    def refused(self) -> dict[str, str]:
        """Source to reason of the documents that could not be read."""
        return dict(self._query("SELECT source, refused FROM documents WHERE refused IS NOT NULL ORDER BY source"))

    def notes(self) -> dict[str, tuple[str, ...]]:
        """Source to what is left out of it or looks wrong, of the documents with which something is."""
        rows = self._query("SELECT source, notes FROM documents WHERE notes != '[]' ORDER BY source")
        return {source: tuple(json.loads(notes)) for source, notes in rows}

    def documents(self) -> list[DocumentInfo]:
        """The documents that could be read, by name."""
        rows = self._query(
            "SELECT source, title, (SELECT count(*) FROM passages WHERE document = documents.id), length(text), sha256"
            " FROM documents WHERE refused IS NULL ORDER BY source"
        )
        return [DocumentInfo(*row) for row in rows]

    def text(self, source: str) -> str | None:
        """The extracted text of a document; None when there is no such document."""
        rows = self._query("SELECT text FROM documents WHERE source = ? AND refused IS NULL", (source,))
        return rows[0][0] if rows else None

    def add(self, read: Document, sha256: str, new: Sequence[NewPassage], vectors: Vectors) -> None:
        """Put a document in, in place of an older version. `vectors` has one row a passage."""
        document = self._replace(read.source, sha256, read, None)
        blobs = [vector.astype("<f2").tobytes() for vector in vectors]
        words = [" ".join(terms(passage.searchable)) for passage in new]
        nodes = [node_id(read.source, sha256, n) for n in range(len(new))]
        rows = [
            (document, n, p.start, p.end, p.page, json.dumps(p.heading), p.text, p.context, *searched)
            for n, (p, *searched) in enumerate(zip(new, words, blobs, nodes, strict=True))
        ]
        self._db.executemany(
            "INSERT INTO passages (document, ordinal, start, end, page, heading, text, context, terms, vector, node)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        pairs = sorted(set(definitions(read.text)))
        self._db.executemany("INSERT INTO abbreviations VALUES (?, ?, ?)", [(document, *pair) for pair in pairs])

    def refuse(self, source: str, sha256: str, reason: str) -> None:
        """Remember that a document could not be read, so that it is not tried again until it changes."""
        self._replace(source, sha256, Document(source, "", "", ()), reason)

    def rename(self, source: str, to: str) -> None:
        """Give a document another name; it counts as changed until it is added under that."""
        self._db.execute("UPDATE documents SET source = ?, sha256 = '' WHERE source = ?", (to, source))

    def remove(self, source: str) -> None:
        """Forget a document."""
        self._db.execute("DELETE FROM documents WHERE source = ?", (source,))

    def __len__(self) -> int:
        """Number of passages."""
        return self._query("SELECT count(*) FROM passages")[0][0]

    def rows(self) -> NDArray[np.int64]:
        """Row ids of all passages, by source and place in it. Shape (number of passages,)."""
        return np.array([row for (row,) in self._query(f"SELECT p.id {_ALL}")], dtype=np.int64)

    def sources(self) -> list[str]:
        """Whose document each passage is of, in the order of `rows`."""
        return [source for (source,) in self._query(f"SELECT source {_ALL}")]

    def terms(self) -> Iterator[list[str]]:
        """The terms of all passages, in the order of `rows`."""
        for (words,) in self._db.execute(f"SELECT terms {_ALL}"):
            yield words.split()

    def texts(self) -> Iterator[str]:
        """What is searched of all passages, in the order of `rows`."""
        for context, text in self._db.execute(f"SELECT context, p.text {_ALL}"):
            yield _below_titles(context, text)

    def vectors(self, rows: Iterable[int] | None = None) -> Vectors:
        """Vectors of all passages in the order of `rows()`, or of the rows asked for."""
        if rows is None:
            blobs = [blob for (blob,) in self._query(f"SELECT vector {_ALL}")]
        else:
            asked = list(rows)
            marks = ", ".join("?" * len(asked))
            stored = dict(self._query(f"SELECT id, vector FROM passages WHERE id IN ({marks})", asked))
            blobs = [stored[row] for row in asked]
        width = len(blobs[0]) // 2 if blobs else 0
        return np.frombuffer(b"".join(blobs), dtype="<f2").reshape(len(blobs), width).astype(np.float32)

    def embedded(self, source: str) -> dict[str, NDArray[np.float32]]:
        """What is known of a document: searchable text to vector."""
        rows = self._query(f"SELECT context, p.text, vector FROM {_JOINED} WHERE source = ?", (source,))
        return {
            _below_titles(context, text): np.frombuffer(blob, dtype="<f2").astype(np.float32)
            for context, text, blob in rows
        }

    def abbreviations(self, sources: Collection[str] | None = None) -> list[Definition]:
        """What the documents define, once a document; of these documents only, or of all."""
        rows = self._query("SELECT source, short, long FROM abbreviations JOIN documents d ON d.id = document")
        return [(short, long) for source, short, long in rows if sources is None or source in sources]

    def nodes(self, source: str) -> Iterator[tuple[Passage, str, NDArray[np.float32]]]:
        """A document's passages with their names and vectors for a vector store."""
        columns = f"{_PASSAGE}, node, vector"
        for *fields, node, blob in self._query(f"SELECT {columns} FROM {_JOINED} WHERE source = ?", (source,)):
            yield _passage(*fields), node, np.frombuffer(blob, dtype="<f2").astype(np.float32)

    def rows_of_nodes(self, nodes: Sequence[str]) -> list[int]:
        """Row ids of a vector store's nodes, in their order; unknown nodes are left out."""
        marks = ", ".join("?" * len(nodes))
        rows = dict(self._query(f"SELECT node, id FROM passages WHERE node IN ({marks})", nodes))
        return [rows[node] for node in nodes if node in rows]

    def at(self, rows: Sequence[int]) -> list[Passage]:
        """The passages of some rows, in the order asked for."""
        marks = ", ".join("?" * len(rows))
        query = f"SELECT p.id, {_PASSAGE} FROM {_JOINED} WHERE p.id IN ({marks})"
        passages = {row: _passage(*values) for row, *values in self._query(query, [int(row) for row in rows])}
        return [passages[row] for row in rows]

    def searchable(self, rows: Sequence[int]) -> list[str]:
        """What is searched of some rows, in the order asked for: the titles above a passage, and its text."""
        marks = ", ".join("?" * len(rows))
        query = f"SELECT id, context, text FROM passages WHERE id IN ({marks})"
        texts = {row: _below_titles(context, text) for row, context, text in self._query(query, rows)}
        return [texts[row] for row in rows]

    def run(self, source: str, first: int, last: int) -> list[Passage]:
        """The passages `first` to `last` of a document, as far as it has them."""
        query = f"SELECT {_PASSAGE} FROM {_JOINED} WHERE source = ? AND ordinal BETWEEN ? AND ? ORDER BY ordinal"
        return [_passage(*row) for row in self._query(query, (source, first, last))]

    def joined(self, source: str, first: int, last: int) -> Passage | None:
        """The passages `first` to `last` of a document as one; None when it does not have them all."""
        parts = self.run(source, first, last)
        if not parts or len(parts) != last - first + 1:
            return None
        if len(parts) == 1:
            return parts[0]
        start, end = parts[0].start, parts[-1].end
        query = "SELECT substr(text, ?, ?) FROM documents WHERE source = ?"
        text = self._query(query, (start + 1, end - start, source))[0][0]
        return parts[0].model_copy(update={"id": f"{source}#{first}-{last}", "text": text, "end": end})

    def _replace(self, source: str, sha256: str, read: Document, refused: str | None) -> int | None:
        self.remove(source)
        return self._db.execute(
            "INSERT INTO documents (source, sha256, title, text, refused, notes) VALUES (?, ?, ?, ?, ?, ?)",
            (source, sha256, read.title, read.text, refused, json.dumps(read.notes)),
        ).lastrowid

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()


def node_id(source: str, version: str, ordinal: int | None = None) -> str:
    """The name of a document's version, or of a passage of it, in a vector store: a UUID, as many stores want."""
    return str(uuid5(NAMESPACE_OID, f"{source}@{version}" if ordinal is None else f"{source}@{version}#{ordinal}"))


def _passage(source: str, ordinal: int, start: int, end: int, page: int | None, heading: str, text: str) -> Passage:
    titles = tuple(json.loads(heading))
    name = f"{source}#{ordinal}"
    return Passage(id=name, text=text, source=source, heading=titles, page=page, start=start, end=end)


# A folder whose content is replaced as a whole, with a draft that survives being killed.
_POINTER = "current"


def current_generation(store: Path) -> Path | None:
    """The folder of the valid generation; None when nothing was ever finished here."""
    try:
        name = (store / _POINTER).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return store / name if name and (store / name).is_dir() else None


def draft_generation(store: Path) -> Path:
    """The folder in which the next generation grows; it may hold what a killed build left."""
    folder = store / "draft"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def publish_generation(store: Path) -> Path:
    """Make the draft the valid generation, in one step, and clear away what came before."""
    before = current_generation(store)
    number = int(before.name[1:]) + 1 if before else 1
    folder = store / f"g{number:06d}"
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(store / "draft", folder)
    write_atomic(store / _POINTER, folder.name + "\n")
    for old in store.glob("g[0-9]*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def discard_drafts(store: Path) -> None:
    """Throw the draft away."""
    shutil.rmtree(store / "draft", ignore_errors=True)


@contextmanager
def locked_store(store: Path) -> Iterator[None]:
    """Only one process at a time builds here; the lock ends with the process, however it ends.

    Raises:
        KnowledgeError: another process is at work.
    """
    store.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise KnowledgeError(f"another process is building {store}", hint="wait until it is done") from error
    try:
        yield
    finally:
        lock.release()
