"""A specialist's knowledge: documents in, the passages that matter for a question out."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.embedding import Embedder
from ...core.errors import KnowledgeError
from ...core.types import Passage
from ..card import KnowledgeCard
from . import generations
from .build import FORMAT, Progress, Report, build
from .lexical import Lexical
from .ranking import rank
from .shelf import FILE, DocumentInfo, Shelf
from .terms import terms
from .vectors import FaissIndex

CANDIDATES = 100
"""Passages that each of the two searches proposes."""


class Knowledge:
    """A hybrid index (BM25 and vectors) over documents. Opened, it never changes; searching is thread-safe."""

    def __init__(self, folder: Path, embedder: Embedder, report: Report | None = None) -> None:
        self._shelf = Shelf(folder / FILE)
        self._rows = np.load(folder / "rows.npy")
        self._lexical = Lexical.open(folder)
        self._dense = FaissIndex.open(folder, self._rows)
        self._embedder = embedder
        self.report = report
        """What the build did; None when the index was only opened."""

    @classmethod
    def build(
        cls,
        sources: Sequence[Path],
        store: Path,
        embedder: Embedder,
        card: KnowledgeCard | None = None,
        *,
        root: Path | None = None,
        progress: Progress | None = None,
    ) -> Knowledge:
        """Build the index of some files and folders in `store`, or bring it up to date, and open it.

        Documents that did not change are not read again; a document that cannot be read is reported
        (`knowledge.report.skipped`) and does not stop the others. Sources are named by their path relative to `root`.
        Raises `KnowledgeError`.
        """
        report = build(sources, store, embedder, card or KnowledgeCard(), root, progress)
        return cls._open(store, embedder, report)

    @classmethod
    def open(cls, store: Path, embedder: Embedder) -> Knowledge:
        """Open an index that was built before.

        Raises `KnowledgeError` when there is none, when it is damaged, or when it was built with another embedder.
        """
        return cls._open(store, embedder, None)

    @classmethod
    def _open(cls, store: Path, embedder: Embedder, report: Report | None) -> Knowledge:
        folder = generations.current(store)
        if folder is None:
            raise KnowledgeError(f"there is no index in {store}", hint="metier build")
        try:
            knowledge = cls(folder, embedder, report)
            meta = knowledge._shelf.meta()
        except (OSError, RuntimeError, ValueError, KeyError, sqlite3.Error) as error:
            raise KnowledgeError(
                f"the index in {store} is damaged: {error}", hint=f"rm -r {store} && metier build"
            ) from error
        if (meta.get("format"), meta.get("embedder")) != (FORMAT, embedder.name):
            found = f"format {meta.get('format')} with embedder '{meta.get('embedder')}'"
            raise KnowledgeError(
                f"the index in {store} has {found}; this is format {FORMAT} with '{embedder.name}'", hint="metier build"
            )
        return knowledge

    def search(self, query: str, k: int = 3) -> list[Passage]:
        """The `k` passages that fit best, best first. `score` and `signals` say why."""
        if not len(self._rows) or not query.strip():
            return []
        vector = self._embedder.embed([query])[0]
        words = self._lexical.scores(terms(query))
        near = self._dense.nearest(vector, CANDIDATES)
        positions = set(np.searchsorted(self._rows, near).tolist())
        if words is not None:
            best = np.argpartition(-words, min(CANDIDATES, len(words)) - 1)[:CANDIDATES]
            positions |= set(best[words[best] > 0].tolist())
        order = np.array(sorted(positions))
        rows = self._rows[order].tolist()
        signals = {
            "dense": self._shelf.vectors(rows) @ vector,
            "bm25": words[order] if words is not None else np.zeros(len(order), dtype=np.float32),
        }
        scores = rank(signals)
        top = np.lexsort((order, -scores))[:k]
        passages = self._shelf.passages([rows[n] for n in top])
        return [
            p.model_copy(update={"score": float(scores[n]), "signals": {s: float(v[n]) for s, v in signals.items()}})
            for p, n in zip(passages, top, strict=True)
        ]

    def passage(self, id: str) -> Passage:
        """A passage by its id. Raises `KnowledgeError`."""
        found = self._shelf.passage(id)
        if found is None:
            raise KnowledgeError(f"no passage '{id}' in this index")
        return found

    def text(self, source: str) -> str:
        """The full extracted text of a document: what all offsets point into. Raises `KnowledgeError`."""
        text = self._shelf.text(source)
        if text is None:
            raise KnowledgeError(f"no document '{source}' in this index")
        return text

    def documents(self) -> list[DocumentInfo]:
        """The documents in the index, by name."""
        return self._shelf.documents()

    def __len__(self) -> int:
        """Number of passages."""
        return len(self._rows)

    def close(self) -> None:
        """Let go of the files."""
        self._shelf.close()
