"""Long-term memory: what was said in earlier conversations, asked later, through a whole team.

`python benchmarks/memory.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR] [--probes N]`

The user turns of `backends/memory_bfcl` are noted as the station `remember` notes them, each scenario for a user of its
own; then each question of `memory_bfcl` is asked in a new conversation. The team is the one that `metier init` writes,
with its router, its documents and the small model; they know nothing of the questions.

`answered` counts replies that contain one of the accepted answers (small letters, no punctuation); `answered_words`
wants them as whole words. `recall_at_3` is the share of a question's needed facts (the parts of its evidence) that are
recalled: four fifths of a part's words stand in one of the recalled facts. `recalled_foreign` is the share of questions
about other things (out-of-scope rows of `route_clinc`) for which anything is recalled. `leaks` counts facts of another
tenant or user in what is recalled for many tenants with the same user names, the threshold of relevance turned off.

Threshold and weights were set on the training folder (docs/log-memory.md); nothing is fitted here. What is left of the
figures for users that nothing was set on: benchmarks/memory_weights.py.
"""

from __future__ import annotations

import random
import re
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from harness import Report, parser, progress, quantile, read_set, sample, wanted

from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.team import Team
from metier.core.files import read_jsonl
from metier.core.onnx_embedder import load_embedder
from metier.memory.facts import Facts
from metier.memory.open import open_facts
from metier.memory.store import Fact, Owner
from metier.serving.project import init_team

SET = "memory_bfcl"
FOREIGN = "route_clinc"
COVERED = 0.8
"""Share of an evidence's words that a fact must hold to count as the needed one."""


class Said(NamedTuple):
    """One user turn of an earlier conversation."""

    scenario: str
    thread: str
    text: str


def turns(data: Path) -> Iterator[Said]:
    """What users said, in its order."""
    for path in sorted((data / "backends" / SET).glob("*.jsonl")):
        for row in sorted(read_jsonl(path), key=lambda row: row["order"]):
            yield from (Said(row["scenario"], row["id"], text) for text in row["turns"])


def plain(text: str) -> str:
    """Small letters and digits, single spaces."""
    return " ".join(re.sub(r"[^\w\s]|_", " ", text.lower()).split())


def contains(reply: str, row: dict[str, Any], *, words: bool = False) -> bool:
    """Does the reply hold one of the accepted answers?"""
    ends = r"\b" if words else ""
    return any(re.search(f"{ends}{re.escape(plain(answer))}{ends}", plain(reply)) for answer in row["answers"])


def needed(row: dict[str, Any], facts: list[Fact]) -> float:
    """Share of the parts of a question's evidence that stand in the facts."""
    held = [Counter(plain(fact.text).split()) for fact in facts]
    parts = [Counter(plain(part).split()) for part in re.split(r"\.\.\.|…", row["meta"]["evidence"]) if plain(part)]
    found = [any((part & one).total() >= COVERED * part.total() for one in held) for part in parts]
    return float(np.mean(found))


def ask(team: Team, rows: list[dict[str, Any]], report: Report) -> None:
    """Every question, by the user of its scenario."""
    assert team.facts is not None
    scores: dict[str, list[float]] = {}
    for row in progress(rows, SET):
        start = perf_counter()
        reply = team.ask(row["input"], user=row["meta"]["scenario"]).text
        recalled = [one.fact for one in team.facts.recall(row["input"], Owner(row["meta"]["scenario"]))]
        for name, value in {
            "answered": contains(reply, row),
            "answered_words": contains(reply, row, words=True),
            "reply_words": len(reply.split()),
            "recall_at_3": needed(row, recalled),
            "seconds": perf_counter() - start,
        }.items():
            scores.setdefault(name, []).append(float(value))
    report.add(SET, "metier", "seconds_p50", scores.pop("seconds"), quantile(0.5))
    for name, values in scores.items():
        report.add(SET, "metier", name, values)


def foreign(facts: Facts, args: Namespace) -> list[bool]:
    """Is anything recalled for questions that have nothing to do with the user?"""
    rows = [row for row in read_jsonl(args.data / f"{FOREIGN}.jsonl") if row["answer"] == "oos"]
    asked = sample(rows, args.limit or 300, args.seed)
    owners = [owner for owner in facts.owners() if owner.user]
    dice = random.Random(args.seed)
    return [bool(facts.recall(row["input"], dice.choice(owners))) for row in progress(asked, FOREIGN)]


def leaks(args: Namespace, said: list[Said], questions: list[str], folder: Path) -> int:
    """Facts of somebody else in all that is recalled in many probes."""
    facts = open_facts("sqlite", folder / "probes", load_embedder())
    assert facts is not None
    dice = random.Random(args.seed)
    owners = [
        Owner(user, tenant) for user in ("u", "u.1", "u1") for tenant in ("t", "t.1", "t1", "T", "t_1", "t%", "_")
    ]
    for owner in owners:
        for turn in dice.sample(said, min(10, len(said))):
            facts.note(turn.text, owner, thread_id=repr(owner))
    wrong = 0
    for _ in progress(range(args.probes), "probes"):
        owner = dice.choice(owners)
        found = facts.recall(dice.choice(questions), owner, least=0.0)
        wrong += sum(one.fact.thread_id != repr(owner) for one in found)
    facts.close()
    return wrong


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--probes", type=int, default=10_000, help="questions asked in the name of other tenants")
    args = arguments.parse_args()
    report = Report(args)
    if not wanted(args, [SET]):
        return
    rows, said = read_set(args, SET), list(turns(args.data))
    with tempfile.TemporaryDirectory() as folder:
        office = Path(folder) / "office"
        init_team(office)
        build(Blueprint.read(office))
        with Team.load(office) as team:
            assert team.facts is not None
            for turn in progress(said, "noting"):
                team.facts.note(turn.text, Owner(turn.scenario), thread_id=turn.thread)
            report.add_value(SET, "metier", "facts", sum(len(team.facts.of(o)) for o in team.facts.owners()), len(said))
            ask(team, rows, report)
            if (args.data / f"{FOREIGN}.jsonl").is_file():
                report.add(FOREIGN, "metier", "recalled_foreign", foreign(team.facts, args))
        wrong = leaks(args, said, [row["input"] for row in rows], Path(folder))
        report.add_value(SET, "metier", "leaks", wrong, args.probes)
    report.finish()


if __name__ == "__main__":
    main()
