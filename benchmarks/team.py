"""A whole team on its own evaluation questions: who answered, how well, how fast, and what nobody should have answered.

    python benchmarks/team.py examples/plant

DATA is a team's folder. Each specialist's `evaluation` file is asked through the router, as a user would; tasks in
`evaluation_outside.jsonl`, when the team has one, should be refused. A copy of the team is asked, without a confidence
of its own: that would be fitted to these very questions.

Metrics: `routed` (the right specialist took part), `em` and `f1` (refusals count as wrong), `answered`, `f1_answered`
(of what was answered), `cited` (the quote stands at its offsets in the document; rows come back when their query is run
again), `refused_outside`, `seconds_p50`, `model_p50_s`, `embed_p50_s`, `overhead_p50_s` (all that is neither model nor
embedder).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from harness import Report, parser, progress, quantile, sample

from metier.agents.assemble import own_confidence_path
from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.evaluate import EVALUATIONS
from metier.agents.team import Team
from metier.core.files import read_jsonl
from metier.core.metrics import exact_match, token_f1
from metier.core.types import Answer, Citation
from metier.specialists.styles.sql.style import SHOWN_ROWS, SqlSource

FILE = "evaluation_outside.jsonl"


class Sources:
    """What a team's citations are about: documents by their source, and databases."""

    def __init__(self, plan: Blueprint, team: Team) -> None:
        shelves = [s.knowledge for s in team.specialists.values() if s.knowledge]
        self._texts = {d.source: shelf.text(d.source) for shelf in shelves for d in shelf.documents()}
        resources = [s.resources for s in team.specialists.values()]
        self._desks = {one.source: one for one in resources if isinstance(one, SqlSource)}

    def hold(self, answer: Answer) -> bool:
        """Is there a citation, and does every one hold?"""
        return bool(answer.citations) and all(map(self._holds, answer.citations))

    def _holds(self, citation: Citation) -> bool:
        """Rows are of no passage; their query is the context."""
        if citation.passage or citation.source not in self._desks:
            return self._texts[citation.source][citation.start : citation.end] == citation.quote
        desk, query = self._desks[citation.source], citation.context
        return desk.cite(query, desk.database.query(query, rows=SHOWN_ROWS)).quote == citation.quote


def measure(
    report: Report, name: str, team: Team, sources: Sources, rows: list[dict[str, str]], wanted: str
) -> list[Answer]:
    """The figures of one specialist's questions; `wanted` is who should answer."""
    answers = [team.ask(row["input"]) for row in progress(rows, f"{name}/{wanted}")]
    references = [[str(r) for r in row.get("answers") or [row["answer"]]] for row in rows]
    good = [a.kind == "answer" for a in answers]
    f1 = [token_f1(a.text, r) * g for a, r, g in zip(answers, references, good, strict=True)]
    em = [exact_match(a.text, r) * g for a, r, g in zip(answers, references, good, strict=True)]
    took = [wanted in (*a.handoffs, *(a.specialist or "").split(", ")) for a in answers]
    place = f"{name}/{wanted}"
    report.add(place, "metier", "routed", took)
    report.add(place, "metier", "em", em)
    report.add(place, "metier", "f1", f1)
    report.add(place, "metier", "answered", good)
    if any(good):
        report.add(place, "metier", "f1_answered", [f for f, g in zip(f1, good, strict=True) if g])
        report.add(place, "metier", "cited", [sources.hold(a) for a, g in zip(answers, good, strict=True) if g])
    return answers


def main() -> None:
    args = parser(__doc__ or "").parse_args()
    report = Report(args)
    with tempfile.TemporaryDirectory() as place:
        ask(report, copied(args.data, Path(place) / args.data.resolve().name), args)
    report.finish()


def copied(folder: Path, to: Path) -> Blueprint:
    """The team, without what it made of its evaluation questions."""
    plan = Blueprint.read(shutil.copytree(folder, to))
    shutil.rmtree(plan.state / EVALUATIONS, ignore_errors=True)
    own_confidence_path(plan).unlink(missing_ok=True)
    return plan


def ask(report: Report, plan: Blueprint, args: argparse.Namespace) -> None:
    """All figures of a team."""
    build(plan)
    with Team.load(plan) as team:
        team.ask("What is the first question that warms everything up?")
        answers, sources = list[Answer](), Sources(plan, team)
        for name, card in plan.specialists.items():
            if card.evaluation and not (args.only and name not in args.only):
                rows = sample(read_jsonl(plan.folders[name] / card.evaluation), args.limit, args.seed)
                answers += measure(report, plan.card.name, team, sources, rows, name)
        outside: Path = plan.root / FILE
        if outside.is_file():
            tasks = sample(read_jsonl(outside), args.limit, args.seed)
            refused = [team.ask(t["input"]).kind != "answer" for t in progress(tasks, "outside")]
            report.add(plan.card.name, "metier", "refused_outside", refused)
    asked = [a.timings for a in answers if "model" in a.timings]
    report.add(plan.card.name, "metier", "seconds_p50", [t["total"] for t in asked], quantile(0.5))
    for stage in ("model", "embed"):
        report.add(plan.card.name, "metier", f"{stage}_p50_s", [t.get(stage, 0.0) for t in asked], quantile(0.5))
    rest = [t["total"] - t["model"] - t.get("embed", 0.0) for t in asked]
    report.add(plan.card.name, "metier", "overhead_p50_s", rest, quantile(0.5))


if __name__ == "__main__":
    main()
