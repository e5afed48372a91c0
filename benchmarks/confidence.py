"""Fit the confidence of specialists: which answers are right, told from what retrieval and the model say.

    python benchmarks/confidence.py ../shared/data --write

Questions of the sets of `grounded.py` are asked twice: with all documents, and with some left out; those of the
tuning part of `realdocs` once of their specialist and half of them of a colleague, who should not know; those of our
own lessons (`skills/lessons/aside/`, which no shipped skill has learnt from) of a specialist with the documents of
their file, some of which nothing answers. What nothing there can answer counts for less, so that it is the share of all
that it is in use (`FOREIGN`). An answer is right when its document is there and it holds the reference,
or its words overlap with it (F1 of at least 0.5); in `realdocs` when it matches the pattern. A logistic model is fitted
on documents other than those it is measured on; `--write` fits it on all and puts it into
`specialists/confidence.json`, for this base.

Metrics: `auroc` and `ece` (10 bins) out of fold.
"""

from __future__ import annotations

import json
import re
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from documents import chosen
from grounded import Corpus, opened, opening_arguments, pairs, reader_card
from harness import Report, auroc, parser, progress, sample, say
from numpy.typing import NDArray

from metier.benchmarks.skills.own_lessons import FOLDER, Lesson, read_lessons
from metier.core.embedding import Embedder
from metier.core.files import write_atomic
from metier.core.metrics import expected_calibration_error, normalise_answer, token_f1
from metier.core.types import Brief, Logistic, Outcome
from metier.specialists.confidence import CONFIDENCE_FILE, FEATURES, confidence_features
from metier.specialists.engines import Engine
from metier.specialists.knowledge.knowledge import Knowledge
from metier.specialists.specialist import Specialist
from metier.specialists.work import Draft, Work

FOLDS = 5
FOREIGN = 1 / 7
"""Share of the questions that their specialist's documents do not answer."""
RIDGE = 1e-2
"""Keeps the weights finite where a feature separates perfectly."""


class Recorder(Specialist):
    """A specialist that keeps the features of its last draft, whatever the shipped weights make of them."""

    seen: dict[str, float]
    drafted: Draft

    def _check(self, draft: Draft, work: Work) -> Outcome:
        self.seen = confidence_features(work.asked, draft, work.passages, work.likeness)
        self.drafted = draft
        return self._answer(draft, 0.0, work, "")


def collect(made: Corpus, full: Recorder, part: Recorder, absent: set[str], name: str) -> list[dict[str, Any]]:
    """One row an answer: features, whether it is right, and its document (the unit of the folds)."""
    rows = []
    for question in progress(made.questions, name):
        for specialist in (full, part) if question.document in absent else (full,):
            specialist.run(Brief(task=question.text))
            there = specialist is full
            right = there and _holds(specialist.drafted.text, question.answers)
            document = f"{name}/{question.document}"
            rows.append({**specialist.seen, "right": right, "foreign": not there, "document": document})
    return rows


def _holds(text: str, references: Sequence[str]) -> bool:
    plain = normalise_answer(text)
    return any(normalise_answer(r) in plain for r in references) or token_f1(text, references) >= 0.5


def collect_documents(args: Namespace, embedder: Embedder, engine: Engine) -> list[dict[str, Any]]:
    """Rows of real documents; of every second question also what a colleague would say, which is never right."""
    folder, dice, rows = args.data / "realdocs", Random(args.seed), []
    questions = [row for row in chosen(folder, "tune") if row["specialist"] and row["kind"] != "multi_part"]
    with tempfile.TemporaryDirectory() as place:
        people: dict[str, Recorder] = {}
        for name in sorted({row["specialist"] for row in questions}):
            source = folder / "documents" / name
            knowledge = Knowledge.build([source], Path(place) / name, embedder, root=source)
            people[name] = Recorder(
                reader_card(args.style), engine, knowledge, adapter=next(iter(engine.adapters), None), base=args.base
            )
        for number, row in enumerate(progress(sample(questions, args.limit, args.seed), "realdocs")):
            own, brief = row["specialist"], Brief(task=row["question"])
            colleague = dice.choice([name for name in people if name != own])
            for who in (own, colleague) if number % 2 else (own,):
                people[who].run(brief)
                said = people[who].drafted
                right = (
                    who == own and bool(row["pattern"]) and bool(re.search(row["pattern"], said.text, re.IGNORECASE))
                )
                foreign = who != own or row["kind"] == "out_near"
                document = f"{own}/{row.get('source')}"
                right = said.found and right
                rows.append({**people[who].seen, "right": right, "foreign": foreign, "document": document})
    return rows


def collect_lessons(args: Namespace, embedder: Embedder, engine: Engine) -> list[dict[str, Any]]:
    """Rows of our own lessons."""
    by_file: dict[str, list[Lesson]] = {}
    for lesson in read_lessons(FOLDER / "aside"):
        if lesson.is_document:
            by_file.setdefault(lesson.place.partition(":")[0], []).append(lesson)
    asked = [(file, lesson, q) for file, some in by_file.items() for lesson in some for q in lesson.questions]
    asked = [(file, lesson, q) for file, lesson, q in asked if not q.before]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        people: dict[str, Recorder] = {}
        for file, some in by_file.items():
            folder = Path(place) / file
            folder.mkdir()
            for number, lesson in enumerate(some):
                (folder / f"{number}.md").write_text(lesson.written, encoding="utf-8")
            knowledge = Knowledge.build([folder], folder / "index", embedder, root=folder)
            adapter = next(iter(engine.adapters), None)
            people[file] = Recorder(reader_card(args.style), engine, knowledge, adapter=adapter, base=args.base)
        for file, lesson, question in progress(sample(asked, args.lessons, args.seed), "lessons"):
            people[file].run(Brief(task=question.task))
            said = people[file].drafted
            right = said.found and bool(question.lines) and said.text.startswith(question.opening)
            right = right and _holds(said.text, [" ".join(question.lines)])
            foreign = not question.lines
            rows.append({**people[file].seen, "right": right, "foreign": foreign, "document": lesson.place})
    return rows


def fit(
    x: NDArray[np.float64], y: NDArray[np.float64], counts: NDArray[np.float64], steps: int = 50
) -> NDArray[np.float64]:
    """Weights of a logistic model, bias last, by Newton's method with a small ridge on features of one spread.

    Args:
        counts: What each row counts.
    """
    spread = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    x, counts = np.hstack([x / spread, np.ones((len(x), 1))]), counts / counts.sum()
    weights = np.zeros(x.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (counts * (p - y)) + RIDGE * weights
        hessian = (x.T * (counts * p * (1 - p))) @ x + RIDGE * np.eye(len(weights))
        weights = weights - np.linalg.solve(hessian, gradient)
    return np.append(weights[:-1] / spread, weights[-1])


def as_in_use(foreign: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What each row counts."""
    return np.where(foreign, FOREIGN / max(foreign.mean(), 1e-9), (1 - FOREIGN) / (1 - foreign.mean()))


def predict(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-(x @ weights[:-1] + weights[-1])))


def out_of_fold(
    x: NDArray[np.float64], y: NDArray[np.float64], counts: NDArray[np.float64], documents: list[str], seed: int
) -> NDArray[np.float64]:
    """Predictions for each row by a model that saw none of its document's rows."""
    names = sorted(set(documents))
    Random(seed).shuffle(names)
    fold = {name: i % FOLDS for i, name in enumerate(names)}
    where = np.array([fold[d] for d in documents])
    out = np.zeros(len(y))
    for k in range(FOLDS):
        out[where == k] = predict(x[where == k], fit(x[where != k], y[where != k], counts[where != k]))
    return out


def gather(args: Namespace) -> list[dict[str, Any]]:
    """The rows of all sets."""
    rows: list[dict[str, Any]] = []
    embedder, engine = opened(args)
    for name, made, full, part, absent in pairs(args, Recorder, embedder, engine):
        rows += collect(made, full, part, absent, name)
    if not args.only or "realdocs" in args.only:
        rows += collect_documents(args, embedder, engine)
    if args.lessons:
        rows += collect_lessons(args, embedder, engine)
    engine.close()
    return rows


def main() -> None:
    arguments = parser(__doc__ or "")
    opening_arguments(arguments)
    arguments.add_argument("--lessons", type=int, default=0, help="how many questions of our own lessons")
    arguments.add_argument("--write", action="store_true", help="ship the weights")
    args = arguments.parse_args()
    report, rows = Report(args), gather(args)
    x = np.array([[row[name] for name in FEATURES] for row in rows])
    y = np.array([float(row["right"]) for row in rows])
    foreign = np.array([row["foreign"] for row in rows])
    counts = as_in_use(foreign)
    scores = out_of_fold(x, y, counts, [row["document"] for row in rows], args.seed)
    report.add_value("all", "metier", "auroc", auroc(scores, y), len(y))
    # Drawn anew by what rows count, since the measure knows no weights.
    drawn = np.random.default_rng(args.seed).choice(len(y), 20 * len(y), p=counts / counts.sum())
    report.add_value("all", "metier", "ece", expected_calibration_error(scores[drawn], y[drawn], bins=10), len(y))
    report.add("all", "metier", "right", y)
    report.finish()
    if args.write:
        weights = fit(x, y, counts)
        *named, bias = (round(float(weight), 4) for weight in weights)
        only = "".join(f" --only {name}" for name in args.only or ())
        asked = f"--base {args.base} --style {args.style} --limit {args.limit}{only} --lessons {args.lessons}"
        command = f"python benchmarks/confidence.py DATA {asked}"
        model = Logistic(
            weights=dict(zip(FEATURES, named, strict=True)), bias=bias, made_by=f"{command} ({len(y)} rows)"
        )
        known = json.loads(CONFIDENCE_FILE.read_text(encoding="utf-8"))
        # In its place: the first is for bases that nothing was fitted on.
        known[args.base] = model.model_dump(mode="json")
        write_atomic(CONFIDENCE_FILE, json.dumps(known, indent=1) + "\n")
        say(f"written: {CONFIDENCE_FILE.name} {model}")


if __name__ == "__main__":
    main()
