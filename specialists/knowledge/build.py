"""Building and updating an index: only what changed is read and embedded again."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core.embedding import Embedder
from ...core.errors import KnowledgeError, UnreadableDocument
from ...core.files import sha256
from ..card import KnowledgeCard
from . import generations
from .document import Document
from .lexical import Lexical
from .passages import split
from .readers import read
from .shelf import FILE, Entry, Shelf
from .sources import Found, scan
from .vectors import FaissIndex

FORMAT = 1
"""Raised when readers, splitter, terms or files change, so that old indexes are built anew."""
_AT_ONCE = 256
"""Passages that are embedded, and saved, together."""

Progress = Callable[[int, int, str], None]
"""Called with documents done, documents in all, and the source at work."""


@dataclass(frozen=True)
class Report:
    """What a build did. Sources are names as `scan` gives them."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    """Source to the reason why it is not in the index."""
    passages: int = 0
    embedded: int = 0
    """Passages that had to be embedded; the others were known."""
    seconds: float = 0.0


def fingerprint(embedder: Embedder, card: KnowledgeCard) -> dict[str, Any]:
    """What an index depends on besides its documents."""
    return {
        "format": FORMAT,
        "embedder": embedder.name,
        "dimension": embedder.dimension,
        "passage_tokens": card.passage_tokens,
        "backend": card.backend,
        "backend_options": card.backend_options,
    }


def build(
    sources: Sequence[Path],
    store: Path,
    embedder: Embedder,
    card: KnowledgeCard,
    root: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Bring the index in `store` up to date with the documents.

    The index that was there stays valid until the new one is complete: a crash, a kill or a full disk leaves it as
    it was, and a killed build goes on where it stopped. Raises `KnowledgeError` when nothing could be read at all,
    when the disk refuses, or when another process is building.
    """
    began = time.perf_counter()
    found = scan(sources, root)
    wanted = {source: sha256(path) for source, path in found.files.items()}
    try:
        with generations.locked(store):
            before = _known(generations.current(store), fingerprint(embedder, card))
            embedded = 0
            if before != wanted:
                embedded = _renew(store, found, wanted, embedder, card, progress)
            return _report(store, found, before or {}, wanted, embedded, time.perf_counter() - began)
    except (OSError, sqlite3.Error) as error:
        generations.discard(store)
        raise KnowledgeError(
            f"the index in {store} could not be written: {error}",
            hint="free some disk space or correct the permissions; the index that was there is unchanged",
        ) from error


def _known(folder: Path | None, needs: dict[str, Any]) -> dict[str, str] | None:
    """Source to hash in an index that fits; None when there is none."""
    if folder is None:
        return None
    try:
        shelf = Shelf(folder / FILE)
        try:
            return shelf.versions() if shelf.meta() == needs else None
        finally:
            shelf.close()
    except sqlite3.Error:
        return None


def _renew(
    store: Path,
    found: Found,
    wanted: dict[str, str],
    embedder: Embedder,
    card: KnowledgeCard,
    progress: Progress | None,
) -> int:
    """Fill the draft, index it, publish it. Gives the number of embedded passages."""
    needs = fingerprint(embedder, card)
    folder = generations.draft(store)
    if _known(folder, needs) is None:
        before = generations.current(store)
        generations.discard(store)
        folder = generations.draft(store)
        if before is not None and _known(before, needs) is not None:
            (folder / FILE).write_bytes((before / FILE).read_bytes())
    shelf = Shelf(folder / FILE, write=True)
    try:
        with shelf.change():
            shelf.set_meta(needs)
        embedded = _Filler(shelf, embedder, card.passage_tokens).fill(found, wanted, progress)
        Lexical.build(shelf.searchable(), folder)
        rows = shelf.rows()
        np.save(folder / "rows.npy", rows)
        FaissIndex.build(shelf.vectors(), folder)
    finally:
        shelf.close()
    generations.publish(store)
    return embedded


class _Filler:
    """Brings the shelf up to date, a batch of passages at a time."""

    def __init__(self, shelf: Shelf, embedder: Embedder, size: int) -> None:
        self.shelf, self.embedder, self.size = shelf, embedder, size
        self.embedded = 0
        self.waiting: list[tuple[Document, str, list[Entry]]] = []

    def fill(self, found: Found, wanted: dict[str, str], progress: Progress | None) -> int:
        have = self.shelf.versions()
        with self.shelf.change():
            for source in have.keys() - wanted.keys():
                self.shelf.remove(source)
        work = [source for source, version in wanted.items() if have.get(source) != version]
        for done, source in enumerate(work):
            if progress is not None:
                progress(done, len(work), source)
            self._take(source, found.files[source], wanted[source])
            if sum(len(entries) for _, _, entries in self.waiting) >= _AT_ONCE:
                self._save()
        self._save()
        if progress is not None:
            progress(len(work), len(work), "")
        return self.embedded

    def _take(self, source: str, path: Path, version: str) -> None:
        try:
            document = read(path, source)
        except UnreadableDocument as error:
            with self.shelf.change():
                self.shelf.refuse(source, version, error.message)
            return
        self.waiting.append((document, version, entries_of(document, self.size)))

    def _save(self) -> None:
        known = {
            text: vector
            for document, _, _ in self.waiting
            for text, vector in self.shelf.embedded(document.source).items()
        }
        texts = {entry.searchable: None for _, _, entries in self.waiting for entry in entries}
        new = [text for text in texts if text not in known]
        for first in range(0, len(new), _AT_ONCE):
            some = new[first : first + _AT_ONCE]
            known.update(zip(some, self.embedder.embed(some), strict=True))
        self.embedded += len(new)
        with self.shelf.change():
            for document, version, entries in self.waiting:
                vectors = np.array([known[entry.searchable] for entry in entries], dtype=np.float32)
                self.shelf.add(document.source, version, document.title, document.text, entries, vectors)
        self.waiting.clear()


def entries_of(document: Document, size: int) -> list[Entry]:
    """The passages of a document, with what a reader would know from the headings."""
    entries = []
    for span in split(document, size):
        titles = dict.fromkeys((document.title, *span.heading))
        text = document.text[span.start : span.end]
        page = document.page(span.start)
        entries.append(Entry(span.start, span.end, page, span.heading, text, ": ".join(filter(None, titles))))
    return entries


def _report(
    store: Path, found: Found, before: dict[str, str], wanted: dict[str, str], embedded: int, seconds: float
) -> Report:
    folder = generations.current(store)
    assert folder is not None
    shelf = Shelf(folder / FILE)
    try:
        refused, count = shelf.refused(), len(shelf.rows())
    finally:
        shelf.close()
    if refused and len(refused) == len(wanted):
        reasons = "; ".join(f"{source}: {reason}" for source, reason in list(refused.items())[:5])
        raise KnowledgeError(f"none of the {len(wanted)} documents can be read: {reasons}")
    good = {source: version for source, version in wanted.items() if source not in refused}
    return Report(
        added=tuple(s for s in good if s not in before),
        changed=tuple(s for s, version in good.items() if before.get(s, version) != version),
        removed=tuple(s for s in before if s not in wanted),
        unchanged=sum(before.get(s) == version for s, version in good.items()),
        skipped={**found.skipped, **refused},
        passages=count,
        embedded=embedded,
        seconds=seconds,
    )
