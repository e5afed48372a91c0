"""Building and updating an index: only what changed is read and embedded again."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ...core.embedding import Embedder, embed_passages
from ...core.errors import KnowledgeError, UnreadableDocument
from ...core.files import sha256
from ...core.run import Progress, no_progress
from ...core.spelling import save_words
from ..card import KnowledgeCard
from .documents import Document, split
from .indexes import Index, Lexical, index_type
from .readers import READERS, READING, Reader, read, with_readers
from .readers.scan import can_read_scans
from .store import (
    PASSAGES_FILE,
    NewPassage,
    PassageStore,
    current_generation,
    discard_drafts,
    draft_generation,
    locked_store,
    publish_generation,
)

INDEX_FORMAT = 4
"""Raised when the files change, so that old indexes cannot be opened and are built anew."""

# Which files make up a specialist's knowledge.


@dataclass
class SourceFiles:
    """Files to read, and those left aside with the reason. Keys are source names: paths relative to the root."""

    files: dict[str, Path] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def scan(given: Sequence[Path], root: Path | None = None, kinds: Collection[str] = READERS) -> SourceFiles:
    """List the documents in files and folders (recursively), in a stable order.

    Hidden files and folders, links and unknown kinds of file are left aside. A source name is the path relative to
    `root`; without a root, relative to the folder (or the file's folder) that was given. `kinds` are the suffixes that
    can be read.

    Raises:
        KnowledgeError: a given path does not exist.
    """
    sources = SourceFiles()
    for place in given:
        path = place.resolve()
        if not path.exists():
            raise KnowledgeError(f"no such document or folder: {place}", hint="correct `sources` in the card")
        base = path if path.is_dir() else path.parent
        base = root.resolve() if root is not None and path.is_relative_to(root.resolve()) else base
        for file, reason in _walk(path) if path.is_dir() else iter([(path, "")]):
            name = file.relative_to(base).as_posix()
            if reason or file.suffix.lower() not in kinds:
                sources.skipped[name] = reason or f"unknown kind of file '{file.suffix or file.name}'"
            elif sources.files.setdefault(name, file) != file:
                sources.skipped[f"{place}: {name}"] = f"another source holds a document called '{name}'"
    return sources


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


# Documents into the store: read, cut, embedded, saved, a batch of passages at a time.


_AT_ONCE = 256
"""Passages that are embedded, and saved, together."""
_TELLING = re.compile(r"(?!\b(?:row|record)\b)\b[^\W\d_]{3,}\b", re.IGNORECASE)
"""A title says something when it holds a word; "scan 0001" and "row 17" only get in the way of searching."""


class Indexer:
    """Brings a store up to date with the documents. Stopped at any moment, it leaves whole documents behind."""

    def __init__(self, passages: PassageStore, embedder: Embedder, size: int, readers: Mapping[str, Reader]) -> None:
        self.embedded = 0
        """Passages embedded so far; those that were known before do not count."""
        self._passages, self._embedder, self._size, self._readers = passages, embedder, size, readers
        self._waiting: list[tuple[Document, str, list[NewPassage]]] = []

    def fill(self, files: Mapping[str, Path], wanted: Mapping[str, str], progress: Progress = no_progress) -> None:
        """`files` is source to file, `wanted` source to SHA-256."""
        have = self._passages.versions()
        with self._passages.change():
            for source, before in _renamed(have, wanted).items():
                self._passages.rename(before, source)  # read again, as titles may come from names, but not embedded
                del have[before]
            for source in have.keys() - wanted.keys():
                self._passages.remove(source)
        changed = [source for source, version in wanted.items() if have.get(source) != version]
        for done, source in enumerate(changed):
            progress("reading", done, len(changed))
            self._take(source, files[source], wanted[source])
            if sum(len(new) for _, _, new in self._waiting) >= _AT_ONCE:
                self._save()
        self._save()
        if changed:
            progress("reading", len(changed), len(changed))

    def _take(self, source: str, path: Path, version: str) -> None:
        try:
            document = read(path, source, self._readers)
        except UnreadableDocument as error:
            with self._passages.change():
                self._passages.refuse(source, version, error.message)
        else:
            self._waiting.append((document, version, passages_of(document, self._size)))

    def _save(self) -> None:
        vectors = {}
        for document, _, _ in self._waiting:
            vectors |= self._passages.embedded(document.source)
        texts = dict.fromkeys(passage.searchable for _, _, new in self._waiting for passage in new)
        unknown = [text for text in texts if text not in vectors]
        for first in range(0, len(unknown), _AT_ONCE):
            batch = unknown[first : first + _AT_ONCE]
            vectors.update(zip(batch, embed_passages(self._embedder, batch), strict=True))
        self.embedded += len(unknown)
        with self._passages.change():
            for document, version, new in self._waiting:
                rows = np.array([vectors[passage.searchable] for passage in new], dtype=np.float32)
                self._passages.add(document, version, new, rows)
        self._waiting.clear()


def passages_of(document: Document, size: int) -> list[NewPassage]:
    """The passages of a document, each with what a reader would know from the headings."""
    passages = []
    for span in split(document, size):
        titles = dict.fromkeys((document.title, *span.heading))
        context = ": ".join(
            title for title in (*titles, _name_words(document.source, titles)) if _TELLING.search(title)
        )
        text = document.text[span.start : span.end]
        passages.append(NewPassage(span.start, span.end, document.page(span.start), span.heading, text, context))
    return passages


def _name_words(source: str, titles: Iterable[str]) -> str:
    """Words of the file's name that no title has: often a supplier or project, which the text takes for granted."""
    told = " ".join(titles).casefold()
    words = re.findall(r"[^\W\d_]{3,}", PurePath(source).stem)
    return " ".join(word for word in words if word.casefold() not in told)


# The index as a whole: a draft is filled, and takes the place of what was there.


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
    renamed: dict[str, str] = field(default_factory=dict)
    """New source to the one that held the same before."""
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Source to what of it is not in the index, or looks wrong there: pages, lines, letters."""
    seconds: float = 0.0


def build_index(
    sources: Sequence[Path],
    store: Path,
    embedder: Embedder,
    card: KnowledgeCard,
    root: Path | None = None,
    progress: Progress = no_progress,
    anew: bool = False,
) -> IndexReport:
    """Bring the index in `store` up to date with the documents; `anew` builds all of it again.

    The index that was there stays valid until the new one is complete: a crash, a kill or a full disk leaves it as
    it was, and a killed build goes on where it stopped.

    Raises:
        ConfigError: the card names a reader or a vector store that there is not.
        KnowledgeError: nothing could be read at all, the disk refuses, or another process is building.
    """
    began = time.perf_counter()
    beside = [root] if root else []
    readers, index = with_readers(card.readers, beside), index_type(card.backend, beside)
    listed = scan(sources, root, readers)
    try:
        versions = {source: sha256(path) for source, path in listed.files.items()}
        with locked_store(store):
            before = _contents(current_generation(store), index_fingerprint(embedder, card))
            wanted, copies = _without_copies(versions)
            after, embedded = before, 0
            if after is None or anew or after.versions != wanted:
                draft = _draft(store, index_fingerprint(embedder, card), before, anew)
                with closing(PassageStore(draft / PASSAGES_FILE, write=True)) as passages:
                    indexer = Indexer(passages, embedder, card.passage_tokens, readers)
                    with passages.change():
                        passages.set_meta(index_fingerprint(embedder, card))
                    indexer.fill(listed.files, wanted, progress)
                    after, embedded = _Contents.of(passages), indexer.embedded
                    _publish(store, draft, passages, before, index, card.backend_options)
    except (OSError, sqlite3.Error) as error:
        discard_drafts(store)
        raise KnowledgeError(
            f"the index in {store} could not be written: {error}",
            hint="free some disk space or correct the permissions; the index that was there is unchanged",
        ) from error
    report = _report(before.versions if before else {}, after, {**listed.skipped, **copies})
    return replace(report, embedded=embedded, seconds=time.perf_counter() - began)


def changed_documents(sources: Sequence[Path], store: Path, card: KnowledgeCard, root: Path, built: float) -> list[str]:
    """Documents that are new, gone or not what the index in `store` was made of. Contents count, not times: only files
    that were touched since `built` (seconds since 1970) are read.
    """
    found = scan(sources, root, with_readers(card.readers, [root])).files
    folder = current_generation(store)
    known: dict[str, str] = {}
    if folder:
        with closing(PassageStore(folder / PASSAGES_FILE)) as passages:
            known = passages.versions()

    def is_other(source: str, path: Path) -> bool:
        status = path.stat()
        if source in known and max(status.st_mtime, status.st_ctime) <= built:
            return False
        version = sha256(path)
        # A file that is the same as another one is not in the index itself.
        return known[source] != version if source in known else version not in known.values()

    gone = [source for source in known if source not in found]
    return [*gone, *(source for source, path in found.items() if is_other(source, path))]


def index_fingerprint(embedder: Embedder, card: KnowledgeCard) -> dict[str, Any]:
    """What an index depends on besides its documents."""
    return {
        "format": INDEX_FORMAT,
        "reading": READING,
        "text_recognition": can_read_scans(),
        "embedder": embedder.name,
        "dimension": embedder.dimension,
        "passage_tokens": card.passage_tokens,
        "readers": card.readers,
        "backend": card.backend,
        "backend_options": card.backend_options,
    }


@dataclass(frozen=True)
class _Contents:
    """What an index holds."""

    versions: dict[str, str]
    """Source to SHA-256 of every document that was looked at, the refused ones too."""
    refused: dict[str, str]
    """Source to reason."""
    notes: dict[str, tuple[str, ...]]
    passages: int

    @classmethod
    def of(cls, passages: PassageStore) -> _Contents:
        return cls(passages.versions(), passages.refused(), passages.notes(), len(passages))


def _without_copies(versions: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Of files of one kind with the same content only one is wanted: the one with the shortest way and name.

    The second result is the source of each other one, with the reason to leave it aside.
    """
    first: dict[tuple[str, str], str] = {}
    for source in sorted(versions, key=lambda source: (source.count("/"), len(source), source)):
        first.setdefault((versions[source], PurePath(source).suffix.lower()), source)
    kept = {source: first[version, PurePath(source).suffix.lower()] for source, version in versions.items()}
    wanted = {source: version for source, version in versions.items() if kept[source] == source}
    return wanted, {source: f"the same as {other}" for source, other in kept.items() if other != source}


def _renamed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """New source to the old one, where the old one is gone and the new one holds the same."""
    gone = {version: source for source, version in before.items() if source not in after}
    return {source: gone.pop(version) for source, version in after.items() if source not in before and version in gone}


def _contents(folder: Path | None, fingerprint: dict[str, Any]) -> _Contents | None:
    """Of the index in a folder; None when there is none that fits."""
    if folder is None:
        return None
    try:
        with closing(PassageStore(folder / PASSAGES_FILE)) as passages:
            return _Contents.of(passages) if passages.meta() == fingerprint else None
    except sqlite3.Error:
        return None


def _draft(store: Path, fingerprint: dict[str, Any], before: _Contents | None, anew: bool) -> Path:
    """A folder whose passages fit: left by a killed build, else a copy of the valid index, else empty."""
    folder, valid = draft_generation(store), current_generation(store)
    if anew or _contents(folder, fingerprint) is None:
        discard_drafts(store)
        folder = draft_generation(store)
        if valid is not None and before is not None and not anew:
            shutil.copyfile(valid / PASSAGES_FILE, folder / PASSAGES_FILE)
    return folder


def _publish(
    store: Path,
    draft: Path,
    passages: PassageStore,
    before: _Contents | None,
    index: type[Index],
    options: dict[str, Any],
) -> None:
    """Index what the draft holds, and make it the valid generation."""
    valid = current_generation(store)
    with ExitStack() as stack:
        old = None
        if valid is not None and before is not None:
            old = stack.enter_context(closing(PassageStore(valid / PASSAGES_FILE)))
        Lexical.build(passages.terms(), draft)
        save_words(passages.texts(), draft)
        np.save(draft / "rows.npy", passages.rows())
        index.build(draft, passages, options, old)
        publish_generation(store)
        if old is not None:
            index.retire(passages, options, old)


def _report(before: Mapping[str, str], after: _Contents, skipped: Mapping[str, str]) -> IndexReport:
    """What became of the documents, of which there were `before`."""
    refused, versions = after.refused, after.versions
    if refused and len(refused) == len(versions):
        reasons = "; ".join(f"{source}: {reason}" for source, reason in list(refused.items())[:5])
        raise KnowledgeError(f"none of the {len(versions)} documents can be read: {reasons}")
    readable = {source: version for source, version in versions.items() if source not in refused}
    renamed = _renamed(before, readable)
    return IndexReport(
        added=tuple(source for source in readable if source not in before and source not in renamed),
        changed=tuple(source for source, version in readable.items() if before.get(source, version) != version),
        removed=tuple(source for source in before if source not in versions and source not in renamed.values()),
        unchanged=sum(before.get(source) == version for source, version in readable.items()),
        skipped={**skipped, **refused},
        passages=after.passages,
        renamed=renamed,
        notes=after.notes,
    )
