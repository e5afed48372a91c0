"""Documents into the shelf: read, cut, embedded, saved, a batch of passages at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath

import numpy as np

from ...core.embedding import Embedder
from ...core.errors import UnreadableDocument
from .document import Document
from .passages import split
from .readers import Reader, read
from .shelf import Entry, Shelf
from .sources import Found

_AT_ONCE = 256
"""Passages that are embedded, and saved, together."""

_TELLING = re.compile(r"(?!\b(?:row|record)\b)\b[^\W\d_]{3,}\b", re.IGNORECASE)
"""A title says something when it holds a word; "scan 0001" and "row 17" only get in the way of searching."""

Progress = Callable[[int, int, str], None]
"""Called with documents done, documents in all, and the source at work."""


class Filler:
    """Brings a shelf up to date with the documents. Stopped at any moment, it leaves whole documents behind."""

    def __init__(self, shelf: Shelf, embedder: Embedder, size: int, readers: Mapping[str, Reader]) -> None:
        self.embedded = 0
        """Passages embedded so far; those that were known before do not count."""
        self._shelf, self._embedder, self._size, self._readers = shelf, embedder, size, readers
        self._waiting: list[tuple[Document, str, list[Entry]]] = []

    def fill(self, found: Found, wanted: dict[str, str], progress: Progress | None = None) -> None:
        """`wanted` is source to SHA-256 for every file in `found`."""
        have = self._shelf.versions()
        with self._shelf.change():
            for source in have.keys() - wanted.keys():
                self._shelf.remove(source)
        work = [source for source, version in wanted.items() if have.get(source) != version]
        for done, source in enumerate(work):
            if progress is not None:
                progress(done, len(work), source)
            self._take(source, found.files[source], wanted[source])
            if sum(len(entries) for _, _, entries in self._waiting) >= _AT_ONCE:
                self._save()
        self._save()
        if progress is not None and work:
            progress(len(work), len(work), work[-1])

    def _take(self, source: str, path: Path, version: str) -> None:
        try:
            document = read(path, source, self._readers)
        except UnreadableDocument as error:
            with self._shelf.change():
                self._shelf.refuse(source, version, error.message)
        else:
            self._waiting.append((document, version, entries_of(document, self._size)))

    def _save(self) -> None:
        known = {}
        for document, _, _ in self._waiting:
            known |= self._shelf.embedded(document.source)
        texts = dict.fromkeys(entry.searchable for _, _, entries in self._waiting for entry in entries)
        new = [text for text in texts if text not in known]
        for first in range(0, len(new), _AT_ONCE):
            some = new[first : first + _AT_ONCE]
            known.update(zip(some, self._embedder.embed(some), strict=True))
        self.embedded += len(new)
        with self._shelf.change():
            for document, version, entries in self._waiting:
                vectors = np.array([known[entry.searchable] for entry in entries], dtype=np.float32)
                self._shelf.add(document.source, version, document.title, document.text, entries, vectors)
        self._waiting.clear()


def entries_of(document: Document, size: int) -> list[Entry]:
    """The passages of a document, each with what a reader would know from the headings."""
    entries = []
    for span in split(document, size):
        titles = dict.fromkeys((document.title, *span.heading))
        context = ": ".join(
            title for title in (*titles, _name_words(document.source, titles)) if _TELLING.search(title)
        )
        text = document.text[span.start : span.end]
        entries.append(Entry(span.start, span.end, document.page(span.start), span.heading, text, context))
    return entries


def _name_words(source: str, titles: Iterable[str]) -> str:
    """Words of the file's name that no title has: often a supplier or project, which the text takes for granted."""
    told = " ".join(titles).casefold()
    words = re.findall(r"[^\W\d_]{3,}", PurePath(source).stem)
    return " ".join(word for word in words if word.casefold() not in told)
