"""Specialists over real documents, with the untrained base: retrieval, answers, citations, abstention, seconds.

Each set becomes a folder of text files and one specialist in style `quote` that knows nothing but these files. A
share of the documents is left out of a second specialist: questions about those should be answered by nobody.

    python benchmarks/grounded.py ../shared/data --limit 100

Metrics: `hit@1`, `hit@5` (a passage found lies in the paragraph that the question was written for), `em`, `f1`
(refusals count as wrong answers), `citation_valid` (the quote stands at its offsets in the document),
`abstention_recall` (refused, of those whose document is absent), `false_refusal` (refused, of those whose document is
there), `seconds` per answer.
"""

from __future__ import annotations

import re
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, TypeVar

from harness import Report, parser, progress, quantile, read_set, say, wanted

from metier.agents.cards import TeamCard
from metier.core.embedding import Embedder
from metier.core.files import read_jsonl
from metier.core.metrics import exact_match, token_f1
from metier.core.models import ModelStore
from metier.core.onnx_embedder import load_embedder
from metier.core.types import Answer, Brief, Passage
from metier.specialists.adapters.choose import loadable, skill_of
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines import Engine, open_engine
from metier.specialists.knowledge.knowledge import Knowledge
from metier.specialists.specialist import Specialist

SETS = ("agri_agxqa", "finance_tatqa_span", "law_cuad_qa")
ABSENT = 0.3
"""Share of the documents that the second specialist does not have."""
S = TypeVar("S", bound=Specialist)


@dataclass(frozen=True)
class Question:
    """A row as a user would ask it, and where its answer stands."""

    text: str
    answers: tuple[str, ...]
    document: str
    start: int
    end: int
    """Offsets of the paragraph in the document."""


@dataclass(frozen=True)
class Corpus:
    """Documents (name to text) and the questions about them."""

    documents: dict[str, str]
    questions: list[Question]


def corpus(args: Namespace, name: str) -> Corpus:
    """Documents and questions of a set; rows whose paragraph is in no document are left out, and counted aloud."""
    rows = read_set(args, name)
    documents = dict(_documents(args.data, name, read_jsonl(args.data / f"{name}.jsonl")))
    questions = [q for row in rows if (q := _question(name, row, documents))]
    if len(questions) < len(rows):
        say(f"{name}: {len(rows) - len(questions)} of {len(rows)} rows have no paragraph in a document, left out")
    return Corpus(documents, questions)


def _documents(data: Path, name: str, rows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    if name == "agri_agxqa":
        for row in read_jsonl(data / "backends" / name / "passages.jsonl"):
            yield f"sheet-{row['doc']}.txt", _clean(row["text"])
    elif name == "finance_tatqa_span":
        for row in rows:
            yield f"report-{row['meta']['doc'][:8]}.txt", "\n\n".join(_clean(p) for p in row["meta"]["all_paragraphs"])
    else:
        path = data / "backends" / "law_cuad" / "contracts.jsonl"
        texts = {c["id"]: c["text"] for c in read_jsonl(path)} if path.is_file() else {}
        for row in rows:
            contract = row["meta"]["contract"]
            yield f"{_title(contract)}.txt", "\n\n".join(_clean(p) for p in texts.get(contract, "").split("\n\n"))


def _question(name: str, row: dict[str, Any], documents: dict[str, str]) -> Question | None:
    text = row["input"]
    if name == "agri_agxqa":
        document = f"sheet-{row['meta']['doc']}.txt"
    elif name == "finance_tatqa_span":
        document = f"report-{row['meta']['doc'][:8]}.txt"
    else:
        # All contracts get the same four questions: whoever asks has to say which contract is meant.
        document = f"{_title(row['meta']['contract'])}.txt"
        text = f"{_title(row['meta']['contract'])}: {text}"
    start = documents.get(document, "").find(_clean(row["context"]))
    if start < 0:
        return None
    answers = tuple(row.get("answers") or [row["answer"]])
    return Question(text, answers, document, start, start + len(_clean(row["context"])))


def _clean(text: str) -> str:
    return " ".join(text.split())


def _title(contract: str) -> str:
    """A contract's id as a person would write it."""
    return " ".join(re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", contract))).strip()[:80].strip()


def build(
    corpus: Corpus,
    absent: set[str],
    folder: Path,
    embedder: Embedder,
    engine: Engine,
    args: Namespace,
    kind: type[S],
) -> S:
    """A specialist that knows the documents that are not absent."""
    for name, text in corpus.documents.items():
        if name not in absent:
            (folder / "documents").mkdir(parents=True, exist_ok=True)
            (folder / "documents" / name).write_text(text, encoding="utf-8")
    card = reader_card(args.style)
    knowledge = Knowledge.build([folder / "documents"], folder / "index", embedder, card.knowledge, root=folder)
    return kind(card, engine, knowledge, adapter=next(iter(engine.adapters), None), base=args.base)


def reader_card(style: str) -> SpecialistCard:
    """Of a specialist that answers from documents."""
    return SpecialistCard(
        name="reader",
        description="Answers from the documents of one benchmark set.",
        style=style,
        knowledge=KnowledgeCard(sources=["documents"]),
    )


def found_at(question: Question, passages: list[Passage], k: int) -> bool:
    """Does one of the first k passages lie in the question's paragraph?"""
    return any(
        p.source.endswith(question.document) and p.start < question.end and p.end > question.start for p in passages[:k]
    )


def valid(answer: Answer, specialist: Specialist) -> bool:
    """Does each quote stand at its offsets in the document?"""
    knowledge = specialist.knowledge
    assert knowledge is not None
    return all(knowledge.text(c.source)[c.start : c.end] == c.quote for c in answer.citations)


def ask(specialist: Specialist, question: Question) -> tuple[Answer, float]:
    """The specialist's answer and its seconds."""
    start = perf_counter()
    answer = specialist.run(Brief(task=question.text))
    assert isinstance(answer, Answer)
    return answer, perf_counter() - start


def measure(
    report: Report, name: str, system: str, corpus: Corpus, full: Specialist, part: Specialist, absent: set[str]
) -> None:
    """All figures of one set."""
    there: list[tuple[Question, Answer, float]] = []
    refused: list[bool] = []
    hits: dict[int, list[bool]] = {1: [], 5: []}
    for question in progress(corpus.questions, f"{name} · {system}"):
        assert full.knowledge is not None
        passages = full.knowledge.search(question.text, k=5)
        for k, scores in hits.items():
            scores.append(found_at(question, passages, k))
        there.append((question, *ask(full, question)))
        if question.document in absent:
            refused.append(ask(part, question)[0].kind != "answer")
    for k, scores in hits.items():
        report.add(name, system, f"hit@{k}", scores)
    answered = [(q, a) for q, a, _ in there if a.kind == "answer"]
    report.add(name, system, "em", [exact_match(a.text, q.answers) * (a.kind == "answer") for q, a, _ in there])
    report.add(name, system, "f1", [token_f1(a.text, q.answers) * (a.kind == "answer") for q, a, _ in there])
    report.add(name, system, "false_refusal", [a.kind != "answer" for _, a, _ in there])
    if answered:
        report.add(name, system, "citation_valid", [valid(a, full) and bool(a.citations) for _, a in answered])
    if refused:
        report.add(name, system, "abstention_recall", refused)
    report.add(name, system, "seconds_p50", [s for _, _, s in there], quantile(0.5))


def opening_arguments(parser: ArgumentParser) -> None:
    """Which base, skill and style."""
    parser.add_argument("--base", default=TeamCard.model_fields["base"].default)
    parser.add_argument("--style", default="answer")
    parser.add_argument("--skill", type=Path, help="an adapter (PEFT folder); left out: the shipped one; `none`: none")


def opened(args: Namespace) -> tuple[Embedder, Engine]:
    """The embedder, and the engine with the skill that was asked for."""
    store = ModelStore()
    defaults = {name: TeamCard.model_fields[name].default for name in ("embedder", "engine")}
    base = store.find(args.base)
    skill = args.skill or skill_of(reader_card(args.style), args.base)
    loaded = None if str(skill) == "none" else loadable(skill, base, defaults["engine"])
    engine = open_engine(defaults["engine"], base, {"skill": loaded} if loaded else {})
    return load_embedder(defaults["embedder"], store), engine


def pairs(
    args: Namespace, kind: type[S], embedder: Embedder, engine: Engine
) -> Iterator[tuple[str, Corpus, S, S, set[str]]]:
    """For each set: its questions, a specialist with all documents, one without the `absent`, and these."""
    for name in wanted(args, SETS):
        made = corpus(args, name)
        names = sorted(made.documents)
        absent = set(Random(args.seed).sample(names, max(1, round(ABSENT * len(names)))))
        with tempfile.TemporaryDirectory() as folder:
            full = build(made, set(), Path(folder) / "full", embedder, engine, args, kind)
            part = build(made, absent, Path(folder) / "part", embedder, engine, args, kind)
            yield name, made, full, part, absent


def main() -> None:
    arguments = parser(__doc__ or "")
    opening_arguments(arguments)
    args = arguments.parse_args()
    report = Report(args)
    system = f"metier+{args.skill}" if args.skill else "base"
    embedder, engine = opened(args)
    for name, made, full, part, absent in pairs(args, Specialist, embedder, engine):
        measure(report, name, system, made, full, part, absent)
    engine.close()
    report.finish()


if __name__ == "__main__":
    main()
