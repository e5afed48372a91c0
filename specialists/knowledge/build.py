"""Building and updating an index: only what changed is read and embedded again."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ...core.embedding import Embedder
from ...core.errors import KnowledgeError, UnreadableDocument
from ...core.files import sha256
from ..card import KnowledgeCard
from . import generations
from .documents import Document, split
from .indexes import Lexical, backend
from .readers import READERS, READING, Reader, read, with_readers
from .store import FILE, NewPassage, PassageStore

# Which files make up a specialist's knowledge.


@dataclass
class SourceFile:
    """Files to read, and those left aside with the reason. Keys are source names: paths relative to the root."""

    files: dict[str, Path] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def scan(sources: Sequence[Path], root: Path | None = None, kinds: Collection[str] = READERS) -> SourceFile:
    """List the documents in files and folders (recursively), in a stable order.

    Hidden files and folders, links and unknown kinds of file are left aside. A source name is the path relative to
    `root`; without a root, relative to the folder (or the file's folder) that was given. `kinds` are the suffixes that
    can be read.

    Raises:
        KnowledgeError: a given path does not exist.
    """
    found = SourceFile()
    for given in sources:
        path = given.resolve()
        if not path.exists():
            raise KnowledgeError(f"no such document or folder: {given}", hint="correct `sources` in the card")
        base = path if path.is_dir() else path.parent
        base = root.resolve() if root is not None and path.is_relative_to(root.resolve()) else base
        for file, reason in _walk(path) if path.is_dir() else iter([(path, "")]):
            name = file.relative_to(base).as_posix()
            if reason or file.suffix.lower() not in kinds:
                found.skipped[name] = reason or f"unknown kind of file '{file.suffix or file.name}'"
            elif found.files.setdefault(name, file) != file:
                found.skipped[f"{given}: {name}"] = f"another source holds a document called '{name}'"
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file with the reason to leave it aside, or an empty reason."""
    for here, folders, files in os.walk(folder):
        for name in sorted(folders):
            path = Path(here, name)
            if name.startswith(".") or path.is_symlink():
                folders.remove(name)
                yield path, "a hidden folder" if name.startswith(".") else "a link to a folder"
        folders.sort()
        for name in sorted(files):
            path = Path(here, name)
            yield path, "a hidden file" if name.startswith(".") else _link(path)


def _link(path: Path) -> str:
    return f"a link to {os.readlink(path)}" if path.is_symlink() else "" if path.is_file() else "not a plain file"


# Documents into the shelf: read, cut, embedded, saved, a batch of passages at a time.


_AT_ONCE = 256
"""Passages that are embedded, and saved, together."""


_TELLING = re.compile(r"(?!\b(?:row|record)\b)\b[^\W\d_]{3,}\b", re.IGNORECASE)
"""A title says something when it holds a word; "scan 0001" and "row 17" only get in the way of searching."""


Progress = Callable[[int, int, str], None]
"""Called with documents done, documents in all, and the source at work."""


class Indexer:
    """Brings a shelf up to date with the documents. Stopped at any moment, it leaves whole documents behind."""

    def __init__(self, shelf: PassageStore, embedder: Embedder, size: int, readers: Mapping[str, Reader]) -> None:
        self.embedded = 0
        """Passages embedded so far; those that were known before do not count."""
        self._shelf, self._embedder, self._size, self._readers = shelf, embedder, size, readers
        self._waiting: list[tuple[Document, str, list[NewPassage]]] = []

    def fill(self, found: SourceFile, wanted: dict[str, str], progress: Progress | None = None) -> None:
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


def entries_of(document: Document, size: int) -> list[NewPassage]:
    """The passages of a document, each with what a reader would know from the headings."""
    entries = []
    for span in split(document, size):
        titles = dict.fromkeys((document.title, *span.heading))
        context = ": ".join(
            title for title in (*titles, _name_words(document.source, titles)) if _TELLING.search(title)
        )
        text = document.text[span.start : span.end]
        entries.append(NewPassage(span.start, span.end, document.page(span.start), span.heading, text, context))
    return entries


def _name_words(source: str, titles: Iterable[str]) -> str:
    """Words of the file's name that no title has: often a supplier or project, which the text takes for granted."""
    told = " ".join(titles).casefold()
    words = re.findall(r"[^\W\d_]{3,}", PurePath(source).stem)
    return " ".join(word for word in words if word.casefold() not in told)


FORMAT = 4
"""Raised when the files change, so that old indexes cannot be opened and are built anew."""


@dataclass(frozen=True)
class IndexReport:
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


def build_index(
    sources: Sequence[Path],
    store: Path,
    embedder: Embedder,
    card: KnowledgeCard,
    root: Path | None = None,
    progress: Progress | None = None,
    anew: bool = False,
) -> IndexReport:
    """Bring the index in `store` up to date with the documents; `anew` builds all of it again.

    The index that was there stays valid until the new one is complete: a crash, a kill or a full disk leaves it as
    it was, and a killed build goes on where it stopped.

    Raises:
        KnowledgeError: nothing could be read at all, the disk refuses, or another process is building.
    """
    began = time.perf_counter()
    found = scan(sources, root, with_readers(card.readers))
    backend(card.backend)
    try:
        wanted = {source: sha256(path) for source, path in found.files.items()}
        with generations.locked(store):
            before = _known(generations.current(store), index_fingerprint(embedder, card))
            embedded = 0
            if anew or before != wanted:
                draft = _draft(store, index_fingerprint(embedder, card), anew)
                embedded = _renew(store, draft, found, wanted, embedder, card, progress)
            report = _report(store, found, before or {}, wanted)
    except (OSError, sqlite3.Error) as error:
        generations.discard(store)
        raise KnowledgeError(
            f"the index in {store} could not be written: {error}",
            hint="free some disk space or correct the permissions; the index that was there is unchanged",
        ) from error
    return replace(report, embedded=embedded, seconds=time.perf_counter() - began)


def index_fingerprint(embedder: Embedder, card: KnowledgeCard) -> dict[str, Any]:
    """What an index depends on besides its documents."""
    return {
        "format": FORMAT,
        "reading": READING,
        "embedder": embedder.name,
        "dimension": embedder.dimension,
        "passage_tokens": card.passage_tokens,
        "readers": card.readers,
        "backend": card.backend,
        "backend_options": card.backend_options,
    }


def _known(folder: Path | None, needs: dict[str, Any]) -> dict[str, str] | None:
    """Source to hash in an index that fits; None when there is none."""
    if folder is None:
        return None
    try:
        with closing(PassageStore(folder / FILE)) as shelf:
            return shelf.versions() if shelf.meta() == needs else None
    except sqlite3.Error:
        return None


def _draft(store: Path, needs: dict[str, Any], anew: bool) -> Path:
    """A folder whose shelf fits: left by a killed build, else a copy of the valid one, else empty."""
    folder, valid = generations.draft(store), generations.current(store)
    if anew or _known(folder, needs) is None:
        generations.discard(store)
        folder = generations.draft(store)
        if valid is not None and not anew and _known(valid, needs) is not None:
            shutil.copyfile(valid / FILE, folder / FILE)
    return folder


def _renew(
    store: Path,
    draft: Path,
    found: SourceFile,
    wanted: dict[str, str],
    embedder: Embedder,
    card: KnowledgeCard,
    progress: Progress | None,
) -> int:
    """Fill the draft, index it, publish it. Gives the number of passages that were embedded."""
    needs, valid = index_fingerprint(embedder, card), generations.current(store)
    index, options = backend(card.backend), card.backend_options
    with ExitStack() as opened:
        shelf = opened.enter_context(closing(PassageStore(draft / FILE, write=True)))
        fits = _known(valid, needs) is not None
        old = opened.enter_context(closing(PassageStore(valid / FILE))) if valid is not None and fits else None
        with shelf.change():
            shelf.set_meta(needs)
        filler = Indexer(shelf, embedder, card.passage_tokens, with_readers(card.readers))
        filler.fill(found, wanted, progress)
        Lexical.build(shelf.terms(), draft)
        np.save(draft / "rows.npy", shelf.rows())
        index.build(draft, shelf, options, old)
        generations.publish(store)
        if old is not None:
            index.retire(shelf, options, old)
    return filler.embedded


def _report(store: Path, found: SourceFile, before: dict[str, str], wanted: dict[str, str]) -> IndexReport:
    folder = generations.current(store)
    if folder is None:
        raise KnowledgeError(f"the index in {store} vanished while it was built")
    with closing(PassageStore(folder / FILE)) as shelf:
        refused, count = shelf.refused(), len(shelf.rows())
    if refused and len(refused) == len(wanted):
        reasons = "; ".join(f"{source}: {reason}" for source, reason in list(refused.items())[:5])
        raise KnowledgeError(f"none of the {len(wanted)} documents can be read: {reasons}")
    good = {source: version for source, version in wanted.items() if source not in refused}
    return IndexReport(
        added=tuple(s for s in good if s not in before),
        changed=tuple(s for s, version in good.items() if before.get(s, version) != version),
        removed=tuple(s for s in before if s not in wanted),
        unchanged=sum(before.get(s) == version for s, version in good.items()),
        skipped={**found.skipped, **refused},
        passages=count,
    )
