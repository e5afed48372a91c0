"""Building and updating an index: only what changed is read and embedded again."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.embedding import Embedder
from ...core.errors import KnowledgeError
from ...core.files import sha256
from ..card import KnowledgeCard
from . import generations
from .backends import backend
from .filling import Filler, Progress
from .lexical import Lexical
from .readers import with_readers
from .shelf import FILE, Shelf
from .sources import Found, scan

FORMAT = 4
"""Raised when readers, splitter, terms or files change, so that old indexes are built anew."""


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


def build(
    sources: Sequence[Path],
    store: Path,
    embedder: Embedder,
    card: KnowledgeCard,
    root: Path | None = None,
    progress: Progress | None = None,
    anew: bool = False,
) -> Report:
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
            before = _known(generations.current(store), fingerprint(embedder, card))
            embedded = 0
            if anew or before != wanted:
                draft = _draft(store, fingerprint(embedder, card), anew)
                embedded = _renew(store, draft, found, wanted, embedder, card, progress)
            report = _report(store, found, before or {}, wanted)
    except (OSError, sqlite3.Error) as error:
        generations.discard(store)
        raise KnowledgeError(
            f"the index in {store} could not be written: {error}",
            hint="free some disk space or correct the permissions; the index that was there is unchanged",
        ) from error
    return replace(report, embedded=embedded, seconds=time.perf_counter() - began)


def fingerprint(embedder: Embedder, card: KnowledgeCard) -> dict[str, Any]:
    """What an index depends on besides its documents."""
    return {
        "format": FORMAT,
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
        with closing(Shelf(folder / FILE)) as shelf:
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
    found: Found,
    wanted: dict[str, str],
    embedder: Embedder,
    card: KnowledgeCard,
    progress: Progress | None,
) -> int:
    """Fill the draft, index it, publish it. Gives the number of passages that were embedded."""
    needs, valid = fingerprint(embedder, card), generations.current(store)
    index, options = backend(card.backend), card.backend_options
    with ExitStack() as opened:
        shelf = opened.enter_context(closing(Shelf(draft / FILE, write=True)))
        fits = _known(valid, needs) is not None
        old = opened.enter_context(closing(Shelf(valid / FILE))) if valid is not None and fits else None
        with shelf.change():
            shelf.set_meta(needs)
        filler = Filler(shelf, embedder, card.passage_tokens, with_readers(card.readers))
        filler.fill(found, wanted, progress)
        Lexical.build(shelf.terms(), draft)
        np.save(draft / "rows.npy", shelf.rows())
        index.build(draft, shelf, options, old)
        generations.publish(store)
        if old is not None:
            index.retire(shelf, options, old)
    return filler.embedded


def _report(store: Path, found: Found, before: dict[str, str], wanted: dict[str, str]) -> Report:
    folder = generations.current(store)
    if folder is None:
        raise KnowledgeError(f"the index in {store} vanished while it was built")
    with closing(Shelf(folder / FILE)) as shelf:
        refused, count = shelf.refused(), len(shelf.rows())
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
    )
