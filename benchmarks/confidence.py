"""Fit the confidence of specialists: which answers are right, told from what retrieval and the model say.

    python benchmarks/confidence.py ../shared/data --skill quote --write

Questions of the sets of `grounded.py` are asked twice: with all documents, and with some left out; those of a team's
examples once of their specialist and once of a colleague, who should not know. An answer is right
when its document is there and its words overlap with the reference (F1 of at least 0.5). A logistic model is fitted on
documents other than those it is measured on; `--write` fits it on all and puts it beside `specialists/confidence.py`.

Metrics: `auroc` and `ece` (10 bins) out of fold.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from grounded import Corpus, opened, pairs
from harness import Report, auroc, parser, progress, sample, say
from numpy.typing import NDArray

from metier.agents.cards import Blueprint
from metier.core.embedding import Embedder
from metier.core.files import read_jsonl, write_atomic
from metier.core.metrics import expected_calibration_error, token_f1
from metier.core.types import Brief, Logistic, Outcome
from metier.specialists.confidence import CONFIDENCE_FILE, FEATURES, confidence_features
from metier.specialists.engines import Engine
from metier.specialists.knowledge.knowledge import Knowledge
from metier.specialists.specialist import Specialist
from metier.specialists.work import Draft, Work

FOLDS = 5
RIDGE = 1e-2
"""Keeps the weights finite where a feature separates perfectly."""


class Recorder(Specialist):
    """A specialist that keeps the features of its last draft."""

    seen: dict[str, float]
    drafted: Draft

    def _check(self, draft: Draft, work: Work) -> Outcome:
        self.seen = confidence_features(work.brief.query or work.brief.task, draft, work.passages)
        self.drafted = draft
        return super()._check(draft, work)


def collect(made: Corpus, full: Recorder, part: Recorder, absent: set[str], name: str) -> list[dict[str, Any]]:
    """One row an answer: features, whether it is right, and its document (the unit of the folds)."""
    rows = []
    for question in progress(made.questions, name):
        for specialist in (full, part) if question.document in absent else (full,):
            specialist.run(Brief(task=question.text))
            there = specialist is full
            right = there and token_f1(specialist.drafted.text, question.answers) >= 0.5
            rows.append({**specialist.seen, "right": right, "document": f"{name}/{question.document}"})
    return rows


def collect_team(args: Namespace, folder: Path, embedder: Embedder, engine: Engine) -> list[dict[str, Any]]:
    """Rows from a team's own examples (never its evaluation sets); questions for a colleague have no right answer."""
    plan, dice, rows = Blueprint.read(folder), Random(args.seed), []
    people: dict[str, Recorder] = {}
    asked: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, card in plan.specialists.items():
            sources = [plan.folders[name] / s for s in card.knowledge.sources] if card.knowledge else []
            knowledge = Knowledge.build(sources, Path(place) / name, embedder, card.knowledge, root=plan.folders[name])
            people[name] = Recorder(card, engine, knowledge, adapter=args.skill)
            files = [plan.folders[name] / e for e in card.examples if e.endswith(".jsonl")]
            asked[name] = sample([r for f in files for r in read_jsonl(f) if r.get("answer")], args.limit, args.seed)
        for name, question in progress([(n, q) for n, qs in asked.items() for q in qs], folder.name):
            other = dice.choice([n for n in people if n != name])
            for who in (name, other):
                people[who].run(Brief(task=question["input"]))
                drafted = people[who].drafted
                right = who == name and token_f1(drafted.text, [question["answer"]]) >= 0.5
                rows.append({**people[who].seen, "right": right, "document": f"{name}/{question.get('source')}"})
    return rows


def fit(x: NDArray[np.float64], y: NDArray[np.float64], steps: int = 50) -> NDArray[np.float64]:
    """Weights of a logistic model, bias last, by Newton's method with a small ridge."""
    x = np.hstack([x, np.ones((len(x), 1))])
    weights = np.zeros(x.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) / len(y) + RIDGE * weights
        hessian = (x.T * (p * (1 - p))) @ x / len(y) + RIDGE * np.eye(len(weights))
        weights = weights - np.linalg.solve(hessian, gradient)
    return weights


def predict(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-(x @ weights[:-1] + weights[-1])))


def out_of_fold(x: NDArray[np.float64], y: NDArray[np.float64], documents: list[str], seed: int) -> NDArray[np.float64]:
    """Predictions for each row by a model that saw none of its document's rows."""
    names = sorted(set(documents))
    Random(seed).shuffle(names)
    fold = {name: i % FOLDS for i, name in enumerate(names)}
    where = np.array([fold[d] for d in documents])
    out = np.zeros(len(y))
    for k in range(FOLDS):
        out[where == k] = predict(x[where == k], fit(x[where != k], y[where != k]))
    return out


def gather(args: Namespace) -> list[dict[str, Any]]:
    """The rows of all sets."""
    rows: list[dict[str, Any]] = []
    embedder, engine = opened(args)
    for name, made, full, part, absent in pairs(args, Recorder, embedder, engine):
        rows += collect(made, full, part, absent, name)
    if args.team:
        rows += collect_team(args, args.team, embedder, engine)
    engine.close()
    return rows


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--skill", help="a shipped skill on top of the base")
    arguments.add_argument("--team", type=Path, help="a team whose examples count, too")
    arguments.add_argument("--write", action="store_true", help="ship the weights")
    args = arguments.parse_args()
    report, rows = Report(args), gather(args)
    x = np.array([[row[name] for name in FEATURES] for row in rows])
    y = np.array([float(row["right"]) for row in rows])
    scores = out_of_fold(x, y, [row["document"] for row in rows], args.seed)
    report.add_value("all", "metier", "auroc", auroc(scores, y), len(y))
    report.add_value("all", "metier", "ece", expected_calibration_error(scores, y, bins=10), len(y))
    report.add("all", "metier", "right", y)
    report.finish()
    if args.write:
        weights = fit(x, y)
        *named, bias = (round(float(weight), 4) for weight in weights)
        only = "".join(f" --only {name}" for name in args.only or ())
        command = f"python benchmarks/confidence.py DATA --skill {args.skill} --limit {args.limit}{only}"
        command += f" --team {args.team}" if args.team else ""
        model = Logistic(
            weights=dict(zip(FEATURES, named, strict=True)), bias=bias, made_by=f"{command} ({len(y)} rows)"
        )
        write_atomic(CONFIDENCE_FILE, model.model_dump_json(indent=1) + "\n")
        say(f"written: {CONFIDENCE_FILE.name} {model}")


if __name__ == "__main__":
    main()
