"""A specialist's knowledge: documents in, the passages that matter for a question out."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.embedding import Embedder
from ...core.errors import KnowledgeError
from ...core.types import Passage
from ..card import KnowledgeCard
from . import generations, tuning
from .abbreviations import Abbreviations
from .backends import backend
from .build import FORMAT, Report, build
from .citation import cite
from .filling import Progress
from .lexical import Lexical
from .ranking import rank
from .shelf import FILE, DocumentInfo, Shelf
from .terms import terms
from .tuning import TuningReport

if TYPE_CHECKING:
    from .retrievers import LangChainRetriever, LlamaIndexRetriever

CANDIDATES = 100
"""Passages that each of the two searches proposes."""
_TUNING = "tuning.npz"
_TRIED = 20
"""Passages in which an example's answer is looked for."""
_OTHERS = 5000
"""Passages that the right one is ranked against when tuning is checked."""


class Knowledge:
    """A hybrid index (BM25 and vectors) over documents. Opened, it never changes; searching is thread-safe."""

    def __init__(self, store: Path, folder: Path, embedder: Embedder, report: Report | None = None) -> None:
        self.report = report
        """What the build did; None when the index was only opened."""
        self._store, self._embedder = store, embedder
        self._shelf = Shelf(folder / FILE)
        meta = self._shelf.meta()
        if (meta["format"], meta["embedder"]) != (FORMAT, embedder.name):
            raise KnowledgeError(
                f"the index in {store} has format {meta['format']} with embedder '{meta['embedder']}'; "
                f"needed is format {FORMAT} with '{embedder.name}'",
                hint="metier build",
            )
        self._rows = np.load(folder / "rows.npy")
        self._lexical = Lexical.open(folder)
        self._dense = backend(meta["backend"]).open(folder, self._shelf, meta["backend_options"])
        self._abbreviations = Abbreviations(self._shelf.abbreviations())
        self._shift = tuning.load(store / _TUNING, embedder.name)

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
            return cls(store, folder, embedder, report)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, sqlite3.Error) as error:
            raise KnowledgeError(
                f"the index in {store} is damaged: {error}", hint=f"rm -r {store} && metier build"
            ) from error

    def search(self, query: str, k: int = 3) -> list[Passage]:
        """The `k` passages that fit best, best first. `score` and `signals` say why."""
        if not len(self._rows) or not query.strip():
            return []
        query = self._abbreviations.widen(query)
        plain = self._embedder.embed([query])
        vector = tuning.apply(self._shift, plain)[0]
        words = self._lexical.scores(terms(query))
        order = self._candidates(vector, words)
        rows = self._rows[order].tolist()
        vectors = self._shelf.vectors(rows)
        signals = {
            "dense": vectors @ plain[0],
            **({"tuned": vectors @ vector} if self._shift is not None else {}),
            "bm25": words[order] if words is not None else np.zeros(len(order), dtype=np.float32),
        }
        scores = rank(signals)
        top = np.lexsort((order, -scores))[:k]
        passages = self._shelf.passages([rows[n] for n in top])
        return [
            p.model_copy(update={"score": float(scores[n]), "signals": {s: float(v[n]) for s, v in signals.items()}})
            for p, n in zip(passages, top, strict=True)
        ]

    def _candidates(self, vector: NDArray[np.float32], words: NDArray[np.float32] | None) -> NDArray[np.intp]:
        """Places in `self._rows` of the passages that one of the two searches proposes, ascending."""
        places = set(np.searchsorted(self._rows, self._dense.nearest(vector, CANDIDATES)).tolist())
        if words is not None:
            best = np.argpartition(-words, min(CANDIDATES, len(words)) - 1)[:CANDIDATES]
            places |= set(best[words[best] > 0].tolist())
        return np.array(sorted(places), dtype=np.intp)

    def tune(self, examples: Sequence[tuple[str, str]]) -> TuningReport:
        """Learn from questions and what answers them (a passage's text, or a quote from it).

        What is learnt shifts the vectors of later questions; it is cross-validated first, kept only when it helps, and
        stays beside the index when documents change. Examples whose answer stands in no passage are left out.
        """
        pairs = [(question, row) for question, text in examples if (row := self._row_of(question, text)) is not None]
        rows = sorted({row for _, row in pairs})
        right = np.array([rows.index(row) for _, row in pairs], dtype=np.intp)
        if not tuning.enough(right):
            return TuningReport(examples=len(pairs), before=0.0, after=0.0, kept=False)
        others = np.setdiff1d(self._rows, rows)
        drawn = np.random.default_rng(0).permutation(others)[:_OTHERS].tolist()
        pool = self._shelf.vectors([*rows, *drawn])
        questions = self._embedder.embed([self._abbreviations.widen(question) for question, _ in pairs])
        before, after = tuning.check(questions, right, pool)
        gain = after - before
        kept = bool(gain.mean() > gain.std() / len(gain) ** 0.5)
        if kept:
            self._shift = tuning.learn(questions, pool[right])
            tuning.save(self._store / _TUNING, self._shift, self._embedder.name)
        return TuningReport(examples=len(pairs), before=float(before.mean()), after=float(after.mean()), kept=kept)

    def _row_of(self, question: str, text: str) -> int | None:
        """The passage that holds the text, or a part of it; looked for by its words."""
        words = self._lexical.scores(terms(f"{question} {text}"))
        best = [] if words is None else np.argsort(-words, kind="stable")[:_TRIED].tolist()
        for passage, place in zip(self._shelf.passages(self._rows[best].tolist()), best, strict=True):
            if passage.text in text or cite(text, [passage]):
                return int(self._rows[place])
        return None

    def passage(self, id: str) -> Passage:
        """A passage by its id. Raises `KnowledgeError`."""
        row = self._shelf.row(id)
        if row is None:
            raise KnowledgeError(f"no passage '{id}' in this index")
        return self._shelf.passages([row])[0]

    def text(self, source: str) -> str:
        """The full extracted text of a document: what all offsets point into. Raises `KnowledgeError`."""
        text = self._shelf.text(source)
        if text is None:
            raise KnowledgeError(f"no document '{source}' in this index")
        return text

    def documents(self) -> list[DocumentInfo]:
        """The documents in the index, by name."""
        return self._shelf.documents()

    def as_retriever(self, k: int = 3) -> LlamaIndexRetriever:
        """For llama-index: query engines, chat engines, fusion and rerankers."""
        return _retrievers().LlamaIndexRetriever(self, k)

    def as_langchain(self, k: int = 3) -> LangChainRetriever:
        """For LangChain and LangGraph: a runnable from question to documents."""
        return _retrievers().LangChainRetriever(knowledge=self, k=k)

    def __len__(self) -> int:
        """Number of passages."""
        return len(self._rows)

    def close(self) -> None:
        """Let go of the files."""
        self._shelf.close()


def _retrievers() -> Any:
    # llama-index takes more than a second to import: only those who want its objects should wait for that
    return import_module(".retrievers", __package__)
