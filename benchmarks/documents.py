"""Real documents, real questions: a team of untrained specialists over public documents of several fields.

    python benchmarks/documents.py DATA [--split tune|check|all] [--style answer] [--base NAME] [--adapter NAME|PATH]

DATA/realdocs holds documents, one line of description and routing examples for each field, and questions with a
pattern that a right answer matches. A question that the documents answer is right, wrong or refused; one that they do
not answer is right when nothing is answered. Patterns are generous: `--show` prints the answers, to be read.
Confidence is judged by AUROC and ECE only where everything is answered (`--abstain-below 0`): an answer that is not
given cannot be read.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.team import Team
from metier.benchmarks import harness
from metier.core.files import read_jsonl
from metier.core.metrics import expected_calibration_error
from metier.core.types import Answer

HARD = ("how_to", "why", "yes_no", "comparison")
ODD = ("misspelt", "other_language", "follow_up")


class Result(NamedTuple):
    """A question as it was answered."""

    row: dict[str, Any]
    answer: Answer
    seconds: float

    @property
    def matches(self) -> bool:
        pattern = self.row.get("pattern")
        return bool(pattern and re.search(pattern, self.answer.text, re.IGNORECASE))

    @property
    def verdict(self) -> str:
        if self.answer.kind != "answer":
            return "refused"
        return "right" if self.matches else "wrong"


def team_of(folder: Path, work: Path, args: argparse.Namespace) -> Blueprint:
    """The team as an engineer would set it up: for each field a description, examples, a folder of documents."""
    fields = json.loads((folder / "fields.json").read_text(encoding="utf-8"))
    (work / "documents").symlink_to((folder / "documents").resolve())
    cards = {}
    for name, description in fields.items():
        examples = folder / "examples" / f"{name}.jsonl"
        cards[name] = {
            "name": name,
            "description": description,
            "style": args.style,
            "examples": [row["input"] for row in read_jsonl(examples)],
            "knowledge": {"sources": [f"../documents/{name}"]},
            "model": {"adapter": args.adapter} if args.adapter else {},
        }
    for name, card in cards.items():
        (work / name).mkdir()
        (work / name / "specialist.yaml").write_text(json.dumps(card), encoding="utf-8")
    team = {"name": "realdocs", "specialists": list(cards)}
    settings = {key: getattr(args, key) for key in ("base", "engine", "embedder", "abstain_below")}
    team |= {key: value for key, value in settings.items() if value not in ("", None)}
    (work / "team.yaml").write_text(json.dumps(team), encoding="utf-8")
    return Blueprint.read(work)


def chosen(folder: Path, split: str) -> list[dict[str, Any]]:
    """The questions of a part; all where there are no parts. Follow-ups come with the question before them."""
    rows = read_jsonl(folder / "questions.jsonl")
    file = folder / "split.json"
    if split == "all" or not file.is_file():
        return rows
    ids = set(json.loads(file.read_text(encoding="utf-8"))[split])
    threads = {row["thread"] for row in rows if row["id"] in ids and row.get("thread")}
    return [row for row in rows if row["id"] in ids or row.get("thread") in threads]


def results(team: Team, rows: list[dict[str, Any]], *, attached: bool) -> Iterator[Result]:
    """Ask every question; follow-ups in the thread of the question before them."""
    for row in harness.progress(rows, "realdocs"):
        name = row.get("specialist") if attached and row["kind"] != "multi_part" else None
        started = time.perf_counter()
        answer = team.ask(row["question"], thread_id=row.get("thread"), specialist=name)
        yield Result(row, answer, time.perf_counter() - started)


def add_figures(report: harness.Report, every: list[Result], system: str, *, confidence: bool) -> None:
    """What is answerable, by kind, foreign, confidence, seconds."""
    known = [r for r in every if r.row.get("specialist") and r.row["kind"] != "out_near"]
    for verdict in ("right", "wrong", "refused"):
        report.add("realdocs", system, verdict, [r.verdict == verdict for r in known])
    for name, kinds in (("hard", HARD), ("odd", ODD)):
        if some := [r for r in known if r.row["kind"] in kinds]:
            report.add(f"realdocs_{name}", system, "right", [r.verdict == "right" for r in some])
    by_kind: dict[str, list[Result]] = defaultdict(list)
    for result in every:
        by_kind[result.row["kind"]].append(result)
    for kind, some in sorted(by_kind.items()):
        metric = "refused" if kind.startswith("out") else "right"
        report.add(f"realdocs_{kind}", system, metric, [r.verdict == metric for r in some])
    reached = [r for r in every if r.answer.specialist and r.answer.kind in ("answer", "abstain")]
    sure = np.array([r.answer.confidence for r in reached])
    right = np.array([float(r.matches) for r in reached])
    if confidence and len({*right}) == 2:
        report.add_value("realdocs", system, "auroc", harness.auroc(sure, right), len(reached))
        report.add_value("realdocs", system, "ece", expected_calibration_error(sure, right), len(reached))
    report.add("realdocs", system, "p50_s", [r.seconds for r in every], harness.quantile(0.5))


def main() -> None:
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--split", choices=("tune", "check", "all"), default="all")
    parser.add_argument("--style", default="answer")
    parser.add_argument("--base", default="")
    parser.add_argument("--engine", default="")
    parser.add_argument("--embedder", default="")
    parser.add_argument("--adapter", default="", help="a name or an absolute path, for every specialist")
    parser.add_argument("--abstain-below", type=float, dest="abstain_below", default=None)
    parser.add_argument("--attached", action="store_true", help="ask the right specialist, without the router")
    parser.add_argument("--show", type=Path, help="write every answer there, one JSON object a line")
    args = parser.parse_args()
    folder = args.data / "realdocs"
    report = harness.Report(args)
    with tempfile.TemporaryDirectory() as place:
        blueprint = team_of(folder, Path(place), args)
        build(blueprint)
        rows = harness.sample(chosen(folder, args.split), args.limit, args.seed)
        with Team.load(blueprint) as team:
            every = list(results(team, rows, attached=args.attached))
    if args.show:
        lines = [
            json.dumps(r.row | {"verdict": r.verdict, "seconds": r.seconds, "said": r.answer.model_dump(mode="json")})
            for r in every
        ]
        args.show.write_text("\n".join(lines) + "\n", encoding="utf-8")
    add_figures(report, every, "metier", confidence=args.abstain_below == 0)
    report.finish()


if __name__ == "__main__":
    main()
