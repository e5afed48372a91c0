"""A specialist's knowledge: documents in, the passages that matter for a question out."""

from __future__ import annotations

import heapq
import re
import sqlite3
from collections.abc import Collection, Sequence
from copy import copy
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.embedding import Embedder, Reranker, embed_passages
from ...core.errors import KnowledgeError
from ...core.run import Progress, no_progress
from ...core.spelling import Spelling, saved_words
from ...core.text import terms
from ...core.types import Passage
from ..card import KnowledgeCard
from .build import INDEX_FORMAT, IndexReport, build_index
from .documents import belongs_on
from .indexes import Lexical, index_type
from .store import PASSAGES_FILE, Abbreviations, DocumentInfo, PassageStore, current_generation, ordinals

if TYPE_CHECKING:
    from .llama_index import LangChainRetriever, LlamaIndexRetriever

_CANDIDATES = 100
"""Passages that each of the two searches proposes."""
_WORDS = 0.7
"""Weight of the words against the vectors (benchmarks/retrieval_weights.py)."""
_HALF = 8.0
"""BM25 score that counts half: beyond it, more shared words say little more (same source)."""
_RERANKED = 12
"""Passages that are compared with the question word by word."""
_WORD_BY_WORD = 3.0
"""What that counts against the score (docs/log-retrieval.md)."""

_REACH = 2
"""Passages before and after one that are looked at."""
_LONGEST = 2.0
"""Passages joined are at most so many times as long as one may be."""
_FEW = 0.25
"""A passage that is shorter than this share of what it may be says little without what is below it."""
_SAME_SECTION = len("\n\f\n")
"""Characters between two passages of one section, where no heading stands between them."""
_ROW = re.compile(r"[^\n:;]+: [^\n]*; [^\n]+")
"""A table row says itself what it is about: it needs no neighbours."""
_LETTERS = 5.0
"""Letters of a word or punctuation mark and the space behind it, on average."""


class DamagedIndex(KnowledgeError):
    """A file of the index is gone or cannot be read; building mends it."""


class Knowledge:
    """A hybrid index (BM25 and vectors) over documents. Opened, it never changes; searching is thread-safe."""

    def __init__(
        self,
        store: Path,
        folder: Path,
        embedder: Embedder,
        report: IndexReport | None = None,
        root: Path | None = None,
        rerank: bool = True,
    ) -> None:
        self.report = report
        """What the build did; None when the index was only opened."""
        self._store, self._embedder, self._rerank = store, embedder, rerank
        self._passages = PassageStore(folder / PASSAGES_FILE)
        meta = self._passages.meta()
        if (meta["format"], meta["embedder"]) != (INDEX_FORMAT, embedder.name):
            raise KnowledgeError(
                f"the index in {store} has format {meta['format']} with embedder '{meta['embedder']}'; "
                f"needed is format {INDEX_FORMAT} with '{embedder.name}'",
                hint="metier build",
            )
        self._size = int(meta["passage_tokens"]) * _LETTERS
        self._rows = np.load(folder / "rows.npy")
        self._ascending = np.argsort(self._rows)
        self._lexical = Lexical.open(folder)
        index = index_type(meta["backend"], [root] if root else [])
        self._dense = index.open(folder, self._passages, meta["backend_options"])
        self._counted = partial(saved_words, folder)
        self._spelling = Spelling(self._counted, embedder)
        self._abbreviations = Abbreviations(self._passages.abbreviations())
        self._visible: frozenset[str] | None = None
        self._seen = np.ones(len(self._rows), dtype=np.bool_)

    @classmethod
    def build(
        cls,
        sources: Sequence[Path],
        store: Path,
        embedder: Embedder,
        card: KnowledgeCard | None = None,
        *,
        root: Path | None = None,
        progress: Progress = no_progress,
    ) -> Knowledge:
        """Build the index of some files and folders in `store`, or bring it up to date, and open it.

        Documents that did not change are not read again; a document that cannot be read is reported
        (`knowledge.report.skipped`) and does not stop the others. Sources are named by their path relative to `root`.
        Raises `KnowledgeError`.
        """
        card = card or KnowledgeCard()
        report = build_index(sources, store, embedder, card, root, progress)
        try:
            return cls._open(store, embedder, report, root, card.rerank)
        except DamagedIndex:
            report = build_index(sources, store, embedder, card, root, progress, anew=True)
            return cls._open(store, embedder, report, root, card.rerank)

    @classmethod
    def open(cls, store: Path, embedder: Embedder, *, root: Path | None = None, rerank: bool = True) -> Knowledge:
        """Open an index that was built before. A vector store of one's own may lie in `root`, the team's folder.

        `rerank` is the card's: whether what was found is compared word by word, where the embedder can.
        Raises `KnowledgeError` when there is none, when it is damaged, or when it was built with another embedder.
        """
        return cls._open(store, embedder, None, root, rerank)

    @classmethod
    def _open(
        cls, store: Path, embedder: Embedder, report: IndexReport | None, root: Path | None, rerank: bool
    ) -> Knowledge:
        folder = current_generation(store)
        if folder is None:
            raise KnowledgeError(f"there is no index in {store}", hint="metier build")
        try:
            return cls(store, folder, embedder, report, root, rerank)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, sqlite3.Error) as error:
            if folder != current_generation(store):  # replaced by another process while it was opened
                return cls._open(store, embedder, report, root, rerank)
            raise DamagedIndex(f"the index in {store} is damaged: {error}", hint="metier build") from error

    def only(self, sources: Collection[str]) -> Knowledge:
        """The same index for somebody who may see no other documents than these: nothing else of it is searched, read,
        counted or listed. It is open as long as this one is.
        """
        part = copy(self)
        part._visible = frozenset(sources)
        places = [source in part._visible for source in self._passages.sources()]
        rows = self._passages.rows()[np.array(places, dtype=np.bool_)]
        part._seen = np.isin(self._rows, rows)
        part._dense = self._dense.only(rows)
        part._abbreviations = Abbreviations(self._passages.abbreviations(part._visible))
        return part

    def search(self, query: str, k: int = 3, *, rerank: bool = True) -> list[Passage]:
        """The `k` passages that fit best, best first. `score` and `signals` say why.

        Where the embedder can, the best are compared with the query word by word; `score` and how near they come
        (`signals["rerank"]`) make the order together, which `merged` keeps. Without `rerank` the order is that of
        `score`, much sooner: for those who only ask how near the best passages come.

        Of passages with the same text only the best is given. Neighbours among them are joined, and a list or a
        paragraph that was cut is given whole where that is not too long: then there are fewer than `k`, and an id such
        as `manual.md#3-4` names all that were joined.
        """
        if not len(self) or not query.strip():
            return []
        mended = self._spelling.mend(query)
        reranker = self._reranker() if rerank else None
        found = self._distinct(query, mended, max(k, _RERANKED) if reranker else k)
        if reranker:
            found = self._reranked(reranker, mended, found)
        return self._whole([passage for _, passage in found[:k]])

    def _distinct(self, query: str, mended: str, k: int) -> list[tuple[int, Passage]]:
        """The `k` passages of the highest score with their rows in the store; of those with the same text the best."""
        rows, signals = self._evidence(self._abbreviations.widen(query), self._abbreviations.widen(mended))
        words = signals["bm25"]
        scores = (signals["dense"] + _WORDS * words / (words + _HALF)).astype(np.float32)
        best: dict[str, tuple[int, Passage]] = {}
        order = np.argsort(-scores, kind="stable").tolist()
        while order and len(best) < k:
            some, order = order[: k - len(best)], order[k - len(best) :]
            for n, passage in zip(some, self._passages.at(rows[some].tolist()), strict=True):
                why = {name: float(signal[n]) for name, signal in signals.items()}
                found = passage.model_copy(update={"score": float(scores[n]), "signals": why})
                best.setdefault(passage.text, (int(rows[n]), found))
        return list(best.values())

    def _reranker(self) -> Reranker | None:
        return self._embedder if self._rerank and isinstance(self._embedder, Reranker) else None

    def _reranked(
        self, reranker: Reranker, question: str, found: Sequence[tuple[int, Passage]]
    ) -> list[tuple[int, Passage]]:
        """The first of what was found in a better order, the rest behind them."""
        texts = self._passages.searchable([row for row, _ in found[:_RERANKED]])
        likeness = reranker.compare(question, texts).tolist()
        read = [
            (row, passage.model_copy(update={"signals": {**passage.signals, "rerank": near}}))
            for (row, passage), near in zip(found, likeness, strict=False)
        ]
        return [*sorted(read, key=lambda one: -nearness(one[1])), *found[len(read) :]]

    def _whole(self, found: Sequence[Passage]) -> list[Passage]:
        """Passages joined with those neighbours without which they are torn."""
        whole: list[Passage] = []
        for passage in found:
            source, ordinal, _ = ordinals(passage.id)
            given = [(first, last) for name, first, last in (ordinals(p.id) for p in whole) if name == source]
            if any(first <= ordinal <= last for first, last in given):
                continue
            after = max((last + 1 for _, last in given if last < ordinal), default=0)
            before = min((first - 1 for first, _ in given if first > ordinal), default=ordinal + _REACH)
            near = self._passages.run(source, max(ordinal - _REACH, after), min(ordinal + _REACH, before))
            run = _stretch(passage, near, found, self._size)
            joined = self._passages.joined(source, ordinals(run[0].id)[1], ordinals(run[-1].id)[1]) or passage
            whole.append(joined.model_copy(update={"score": passage.score, "signals": passage.signals}))
        return whole

    def _evidence(self, query: str, mended: str) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
        """Rows that one of the two searches proposes, in the index's order, and what speaks for each."""
        # As it was typed and as it was put right: which of the two a vector means better is seen in what it finds.
        meant = self._embedder.embed(list(dict.fromkeys((query, mended))))
        words = self._lexical.scores(terms(mended))
        found = np.concatenate([self._dense.nearest(vector, _CANDIDATES) for vector in meant])
        places = set(self._ascending[np.searchsorted(self._rows, found, sorter=self._ascending)].tolist())
        if words is not None:
            words = np.where(self._seen, words, np.float32(0))
            best = np.argpartition(-words, min(_CANDIDATES, len(words)) - 1)[:_CANDIDATES]
            places |= set(best[words[best] > 0].tolist())
        order = np.array(sorted(places), dtype=np.intp)
        rows = self._rows[order]
        vectors = self._passages.vectors(rows.tolist())
        bm25 = np.zeros(len(rows), np.float32) if words is None else words[order]
        return rows, {"dense": (vectors @ meant.T).max(axis=1), "bm25": bm25}

    def likeness(self, task: str, texts: Sequence[str]) -> list[float]:
        """How near each of some texts comes to a task in meaning: their cosines."""
        return (embed_passages(self._embedder, texts) @ self._embedder.embed([task])[0]).tolist()

    def passage(self, id: str) -> Passage:
        """A passage by its id. Raises `KnowledgeError`."""
        source, first, last = ordinals(id)
        passage = self._passages.joined(source, first, last) if self._shows(source) else None
        if passage is None:
            raise KnowledgeError(f"no passage '{id}' in this index")
        return passage

    def text(self, source: str) -> str:
        """The full extracted text of a document: what all offsets point into. Raises `KnowledgeError`."""
        text = self._passages.text(source) if self._shows(source) else None
        if text is None:
            raise KnowledgeError(f"no document '{source}' in this index")
        return text

    def passages(self, source: str) -> list[Passage]:
        """The passages of a document, in its order; none when there is no such document."""
        nodes = self._passages.nodes(source) if self._shows(source) else ()
        return sorted((p for p, _, _ in nodes), key=lambda passage: passage.start)

    def sample(self, most: int) -> list[str]:
        """Texts of at most `most` passages, from all over the index."""
        places = np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(int)
        rows = self._rows[self._seen]
        return [passage.text for passage in self._passages.at(rows[places].tolist())]

    def words(self) -> dict[str, int]:
        """The words of the passages, and how often each comes; of an index that is seen in part: none."""
        return self._counted() if self._visible is None else {}

    def documents(self) -> list[DocumentInfo]:
        """The documents in the index, by name."""
        return [document for document in self._passages.documents() if self._shows(document.source)]

    def _shows(self, source: str) -> bool:
        return self._visible is None or source in self._visible

    def as_retriever(self, k: int = 3) -> LlamaIndexRetriever:
        """For llama-index: query engines, chat engines, fusion and rerankers."""
        return _retrievers().LlamaIndexRetriever(self, k)

    def as_langchain(self, k: int = 3) -> LangChainRetriever:
        """For LangChain and LangGraph: a runnable from question to documents."""
        return _retrievers().LangChainRetriever(knowledge=self, k=k)

    def __len__(self) -> int:
        """Number of passages."""
        return int(self._seen.sum())

    def close(self) -> None:
        """Let go of the files."""
        self._passages.close()


# In which order passages are read.


def merged(*found: Sequence[Passage]) -> list[Passage]:
    """What several searches for one question found, each best first, as one list; each one's order is kept."""
    reranked = all("rerank" in passages[0].signals for passages in found if passages)
    key = nearness if reranked else lambda passage: passage.score
    return [*heapq.merge(*found, key=lambda passage: -key(passage))]


def nearness(passage: Passage) -> float:
    """What passages are ordered by: their score and, where they were compared word by word, how near they came."""
    return passage.score + _WORD_BY_WORD * passage.signals.get("rerank", 0.0)


# Which passages are read as one: what a cut has torn, what was found side by side, what only announces the next.


def _stretch(passage: Passage, near: Sequence[Passage], found: Collection[Passage], size: float) -> Sequence[Passage]:
    """The passages that are read as one with a passage: itself, and neighbours.

    `near` are the passages around it, in order and with itself; `found` those that fit the question; `size` is the
    number of characters that one may have.
    """
    hits = {other.id for other in found}
    first = last = [other.id for other in near].index(passage.id)

    def fits(begin: int, end: int, share: float) -> bool:
        return begin >= 0 and end < len(near) and near[end].end - near[begin].start <= share * size

    while fits(first, last + 1, _LONGEST) and _reads_on(near[last], near[last + 1], hits):
        last += 1
    while fits(first - 1, last, _LONGEST) and _reads_on(near[first - 1], near[first], hits):
        first -= 1
    while fits(first, last, _FEW) and fits(first, last + 1, 1.0) and _is_below(near[last + 1], passage):
        last += 1
    return near[first : last + 1]


def _reads_on(one: Passage, other: Passage, hits: Collection[str]) -> bool:
    """Whether two neighbours are read as one: both were found, or a list or a paragraph is cut between them."""
    gap = other.start - one.end
    if one.heading != other.heading or gap > _SAME_SECTION:
        return False
    return {one.id, other.id} <= set(hits) or (belongs_on(one.text, gap) and not _ROW.match(one.text))


def _is_below(inner: Passage, outer: Passage) -> bool:
    return len(inner.heading) > len(outer.heading) and inner.heading[: len(outer.heading)] == outer.heading


def _retrievers() -> Any:
    # llama-index takes more than a second to import: only those who want its objects should wait for that
    return import_module(".llama_index", __package__)
