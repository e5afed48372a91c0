"""Does the right passage come first? Hit@1/5/10, MRR and seconds a query, for metier and for what it must beat.

    python benchmarks/retrieval.py DATA [--only SET] [--limit N] [--seed S] [--json OUT]

Systems, all in the same run, over the same passages and (but for `tfidf` and `bm25`) with the same embedder:
`tfidf` (scikit-learn, words, sublinear, stop words), `bm25` (bm25s with its own tokenizer, stemmed), `dense` (cosine),
`metier` (an index built with `Knowledge.build`, one file a passage, nothing trained on the set) and `metier-titles`
(medquad only: the last part of each page's address as the file's name, as a saved page would have). Where the embedder
reranks, `metier-hybrid` and `metier-titles-hybrid` are the same without it (on `law_cuad_qa` their seconds leave out
the question's vector, which is remembered).

A hit is a passage whose text equals the gold passage's. `law_cuad_qa` is different: the question is put to the full
text of its own contract, cut into passages by metier, and a hit is a passage that overlaps the clause by half of the
shorter one.
"""

from __future__ import annotations

import re
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import bm25s
import numpy as np
import Stemmer
from harness import Report, parser, progress, quantile, read_set, say, wanted
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import linear_kernel

from metier.agents.cards import TeamCard
from metier.core.embedding import Embedder, Reranker, Vectors, embed_passages
from metier.core.files import read_jsonl
from metier.core.onnx_embedder import load_embedder
from metier.core.types import Passage
from metier.specialists.card import KnowledgeCard
from metier.specialists.knowledge import Knowledge

DEEPEST = 50
"""A passage that comes later than this counts as not found."""
WHOLE = KnowledgeCard(passage_tokens=1024)
"""The sets come cut into passages: they are indexed as they are."""

Search = Callable[[str], list[str]]
"""Question to the texts of passages, best first."""


class Task(NamedTuple):
    """A set of questions over a set of passages."""

    name: str
    passages: list[str]
    titles: list[str] | None
    """One a passage, where the source has them."""
    questions: list[tuple[str, str]]
    """Question, text of the gold passage."""


def health_medquad(args: Namespace) -> Task:
    passages = read_jsonl(args.data / "backends/health_medquad/passages.jsonl")
    pairs = [(row["input"], row["answer"]) for row in read_set(args, "health_medquad")]
    titles = [slug(row["url"]) for row in passages]
    return Task("health_medquad", [row["text"] for row in passages], titles, pairs)


def agri_agxqa(args: Namespace) -> Task:
    passages = read_jsonl(args.data / "backends/agri_agxqa/passages.jsonl")
    texts = {row["doc"]: row["text"] for row in passages}
    rows = [row for row in read_set(args, "agri_agxqa") if row["meta"]["doc"] in texts]
    scored = [(row["input"], texts[row["meta"]["doc"]]) for row in rows]
    return Task("agri_agxqa", [row["text"] for row in passages], None, scored)


def finance_tatqa_span(args: Namespace) -> Task:
    rows = read_jsonl(args.data / "finance_tatqa_span.jsonl")
    passages = list(dict.fromkeys(text for row in rows for text in [row["context"], *row["meta"]["all_paragraphs"]]))
    scored = [(row["input"], row["context"]) for row in read_set(args, "finance_tatqa_span")]
    return Task("finance_tatqa_span", passages, None, scored)


TASKS = {task.__name__: task for task in (health_medquad, agri_agxqa, finance_tatqa_span)}


def slug(url: str) -> str:
    """The last part of an address that holds a word of its own.

    >>> slug("https://www.cancer.gov/types/leukemia/patient/adult-all-treatment-pdq")
    'adult-all-treatment-pdq'
    """
    plain = {"index", "pages", "facts", "ez", "toc", "index.aspx", "facts.aspx", "ez.aspx"}
    parts = [part for part in re.sub(r"^\w+://[^/]+", "", url).split("/") if part]
    named = [part for part in parts if part.lower() not in plain and re.search("[a-zA-Z]{3}", part)]
    return re.sub(r"\.\w{2,5}$", "", named[-1]) if named else ""


class Remembering:
    """An embedder that does not embed the same passage twice; single texts (questions) always are, to be timed."""

    def __init__(self, embedder: Embedder) -> None:
        self.name, self.dimension = embedder.name, embedder.dimension
        self._embedder = embedder
        self._known: dict[str, NDArray[np.float32]] = {}
        self._passages: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> Vectors:
        if len(texts) == 1:
            return self._embedder.embed(texts)
        return _remembered(texts, self._known, self._embedder.embed)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return _remembered(texts, self._passages, partial(embed_passages, self._embedder))


class RememberingReranker(Remembering):
    """One that reranks, too."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(embedder)
        assert isinstance(embedder, Reranker)
        self.compare = embedder.compare


def remembering(embedder: Embedder) -> Remembering:
    """The embedder, which from now on remembers."""
    return RememberingReranker(embedder) if isinstance(embedder, Reranker) else Remembering(embedder)


def _remembered(
    texts: Sequence[str], known: dict[str, NDArray[np.float32]], embed: Callable[[Sequence[str]], Vectors]
) -> Vectors:
    new = [text for text in dict.fromkeys(texts) if text not in known]
    for first in range(0, len(new), 256):
        some = new[first : first + 256]
        known.update(zip(some, embed(some), strict=True))
        if len(new) > 256:
            say(f"embedded {first + len(some)} of {len(new)}")
    return np.array([known[text] for text in texts], dtype=np.float32).reshape(len(texts), -1)


def tfidf(passages: list[str]) -> Search:
    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    matrix = vectorizer.fit_transform(passages)
    return lambda question: best(passages, linear_kernel(matrix, vectorizer.transform([question]))[:, 0])


def bm25(passages: list[str]) -> Search:
    stemmer = Stemmer.Stemmer("english")

    def words(texts: list[str]) -> Any:
        return bm25s.tokenize(texts, stemmer=stemmer, return_ids=False, show_progress=False)

    index = bm25s.BM25()
    index.index(words(passages), show_progress=False)

    def search(question: str) -> list[str]:
        return best(passages, index.get_scores(words([question])[0] or [""]))

    return search


def dense(passages: list[str], embedder: Embedder) -> Search:
    vectors = embed_passages(embedder, passages)
    return lambda question: best(passages, vectors @ embedder.embed([question])[0])


def best(passages: list[str], scores: NDArray[Any]) -> list[str]:
    return [passages[n] for n in np.argsort(-scores, kind="stable")[:DEEPEST]]


def index(folder: Path, passages: list[str], titles: list[str] | None, embedder: Embedder) -> Knowledge:
    """One text file a passage; its title, if any, is the file's name."""
    for number, text in enumerate(passages):
        file = folder / "documents" / f"{number:06d}" / f"{titles[number] if titles else number}.txt"
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
    return Knowledge.build([folder / "documents"], folder / "store", embedder, WHOLE)


def ways(system: str, embedder: Embedder) -> list[tuple[str, bool]]:
    """A system's names and whether its search reranks: with and without, where there is a reranker."""
    both = isinstance(embedder, Reranker)
    return [(system, True), (f"{system}-hybrid", False)] if both else [(system, False)]


def whole(knowledge: Knowledge, passages: list[str], rerank: bool) -> Search:
    """Search the index; a passage of the set that was cut in two counts at its better half."""

    def search(question: str) -> list[str]:
        found = dict.fromkeys(p.source for p in knowledge.search(question, DEEPEST, rerank=rerank))
        return [passages[int(source.split("/")[0])] for source in found]

    return search


def rank(found: Iterable[str], gold: str) -> int | None:
    """Place of the gold passage, from 1; passages with the same text share a place."""
    distinct = list(dict.fromkeys(found))
    return distinct.index(gold) + 1 if gold in distinct else None


def score(report: Report, task: str, system: str, ranks: list[int | None], seconds: list[float]) -> None:
    places = np.array([place or DEEPEST * 1000 for place in ranks])
    for deep in (1, 5, 10):
        report.add(task, system, f"hit@{deep}", places <= deep)
    report.add(task, system, "mrr", np.where(places <= DEEPEST, 1 / places, 0.0))
    report.add(task, system, "p50_s", seconds, quantile(0.5))


def measure(report: Report, task: Task, system: str, search: Search) -> None:
    ranks, seconds = [], []
    for question, gold in progress(task.questions, f"{task.name} {system}"):
        began = time.perf_counter()
        found = search(question)
        seconds.append(time.perf_counter() - began)
        ranks.append(rank(found, gold))
    score(report, task.name, system, ranks, seconds)


def run(report: Report, task: Task, embedder: Remembering) -> None:
    say(f"{task.name}: {len(task.questions)} questions over {len(task.passages)} passages")
    measure(report, task, "tfidf", tfidf(task.passages))
    measure(report, task, "bm25", bm25(task.passages))
    measure(report, task, "dense", dense(task.passages, embedder))
    for name, titles in {"metier": None, **({"metier-titles": task.titles} if task.titles else {})}.items():
        with tempfile.TemporaryDirectory() as folder:
            knowledge = index(Path(folder), task.passages, titles, embedder)
            for system, rerank in ways(name, embedder):
                measure(report, task, system, whole(knowledge, task.passages, rerank))
            knowledge.close()


def law_cuad_qa(report: Report, args: Namespace, embedder: Embedder) -> None:
    """Questions to a contract's full text."""
    file = args.data / "backends/law_cuad/contracts.jsonl"
    contracts = {row["id"]: row["text"] for row in read_jsonl(file)} if file.is_file() else {}
    asked: dict[str, list[tuple[str, str]]] = {}
    for row in read_set(args, "law_cuad_qa"):
        asked.setdefault(row["meta"]["contract"], []).append((row["input"], row["context"]))
    systems = ways("metier", embedder)
    ranks: dict[str, list[int | None]] = {system: [] for system, _ in systems}
    seconds: dict[str, list[float]] = {system: [] for system, _ in systems}
    for contract in progress([name for name in asked if name in contracts], "law_cuad_qa metier"):
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "contract.txt").write_text(contracts[contract], encoding="utf-8")
            knowledge = Knowledge.build([Path(name) / "contract.txt"], Path(name) / "store", embedder)
            text = knowledge.text("contract.txt")
            places = [(question, place) for question, clause in asked[contract] if (place := find(clause, text))]
            for (question, place), (system, rerank) in product(places, systems):
                began = time.perf_counter()
                found = knowledge.search(question, DEEPEST, rerank=rerank)
                seconds[system].append(time.perf_counter() - began)
                ranks[system].append(next((n for n, p in enumerate(found, 1) if overlaps(p, *place)), None))
            knowledge.close()
    for system in ranks if any(ranks.values()) else ():
        score(report, "law_cuad_qa", system, ranks[system], seconds[system])


def find(clause: str, text: str) -> tuple[int, int] | None:
    """Offsets of a clause in the contract, whatever its white space."""
    found = re.search(r"\s+".join(map(re.escape, clause.split())), text)
    return (found.start(), found.end()) if found else None


def overlaps(passage: Passage, start: int, end: int) -> bool:
    shared = min(end, passage.end) - max(start, passage.start)
    return 2 * shared >= min(end - start, passage.end - passage.start)


def main() -> None:
    args = parser(__doc__.splitlines()[0] if __doc__ else "").parse_args()
    report, embedder = Report(args), remembering(load_embedder(TeamCard.model_fields["embedder"].default))
    for name in wanted(args, [*TASKS, "law_cuad_qa"]):
        if name == "law_cuad_qa":
            law_cuad_qa(report, args, embedder)
        else:
            run(report, TASKS[name](args), embedder)
    report.finish()


if __name__ == "__main__":
    main()
