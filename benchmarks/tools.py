"""How well a small model calls functions that it never saw: the untrained base against the skill shipped for it.

`python benchmarks/tools.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR] [--skill PATH] [--all]`

Both work as in a team, through the style `act`: functions chosen by embedding, calls under a grammar. `tools_bfcl` is
about the first call only: `ast_match` where one fits, `irrelevance` where none does, `valid_calls` for the share that
fits its function's schema. `team_workbench` lets it go on until it ends by itself, with real tools, and compares the
tables that are left (`outcome_match`; `outcome_match_acting` for the tasks in which something is to be done).

Where DATA is the training folder, only functions are scored that the skill never saw. Of `tools_bfcl`, `--limit` takes
as many tasks with a call as without.
"""

from __future__ import annotations

import random
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

from harness import Report, parser, progress, quantile, read_set, wanted
from jsonschema import Draft202012Validator
from office import NOW, Office
from trades.trade import opened, skill_for

from metier.agents.cards import TeamCard
from metier.benchmarks.skills.call_data import Asked, part, read_asked
from metier.core.embedding import Embedder
from metier.core.models import ModelStore
from metier.core.onnx_embedder import load_embedder
from metier.core.types import Answer, Brief, Budget, ToolCall, Touch
from metier.specialists.card import SpecialistCard
from metier.specialists.evaluation.measures import calls_match
from metier.specialists.specialist import Specialist
from metier.specialists.styles.act.shown_tools import SHOWN, ToolShortlist
from metier.specialists.styles.act.style import Calling, read_decision
from metier.tools.session import SpecialistTools

ONE_CALL = Budget(steps=2, tokens=100_000, seconds=3600)
"""A model call and a tool call."""
WHOLE_TASK = Budget(steps=16, tokens=100_000, seconds=3600)
SYSTEMS = (("base", "none"), ("metier skill", "call"))
"""Name in the table, and `model.adapter` of the card."""


class Noted:
    """Tools that only note what was called: the set has no functions to run."""

    touched: tuple[Touch, ...] = ()
    done: tuple[ToolCall, ...] = ()

    def __init__(self, functions: Iterable[dict[str, Any]]) -> None:
        self.functions = list(functions)

    def open(self, touched: Iterable[Touch] = ()) -> Noted:
        return self

    def recognised(self, task: str) -> None:
        """No tool reads a call out of a task."""

    def begin(self, *, untrusted: bool) -> Callable[[ToolCall], ToolCall]:
        return lambda call: call


class Bench:
    """One engine with the skill in it, and specialists made of it."""

    def __init__(self, base: str, skill: Path) -> None:
        store = ModelStore()
        self.engine = opened(store.find(base), {"call": skill}, slots=2)
        self.embedder: Embedder = load_embedder(TeamCard.model_fields["embedder"].default, store)
        self.decision = read_decision(skill)

    def specialist(self, adapter: str, hands: Any, **more: Any) -> Specialist:
        """One that acts with these tools, never too unsure to answer."""
        card = SpecialistCard.model_validate(
            {
                "name": "acting",
                "description": "Acts with the tools of a benchmark.",
                "style": "act",
                "tools": ["benchmark"],
                "model": {"adapter": adapter, "max_tokens": 192},
                "abstain_below": 0.0,
                **more,
            }
        )
        loaded = None if adapter == "none" else adapter
        decision = self.decision if loaded else None
        return Specialist(
            card, self.engine, adapter=loaded, tools=hands, resources=Calling(ToolShortlist(self.embedder), decision)
        )


def score_bfcl(report: Report, bench: Bench, args: Namespace) -> None:
    """One call or none, for functions that were kept aside."""
    rows = asked_of(args)
    recall(report, bench.embedder, rows)
    for system, adapter in SYSTEMS:
        right: dict[bool, list[bool]] = {True: [], False: []}
        valid: list[bool] = []
        seconds: list[float] = []
        for row in progress(rows, f"tools_bfcl · {system}"):
            start = perf_counter()
            made = answer(bench.specialist(adapter, Noted(row.functions)), row.task, ONE_CALL).tool_calls
            seconds.append(perf_counter() - start)
            right[bool(row.name)].append(calls_match(made, [{row.name: row.accepted}] if row.name else []))
            valid += [_valid(call, row) for call in made]
        for metric, fits in (("ast_match", True), ("irrelevance", False)):
            if right[fits]:
                report.add("tools_bfcl", system, metric, right[fits])
        if valid:
            report.add("tools_bfcl", system, "valid_calls", valid)
        report.add("tools_bfcl", system, "p50_s", seconds, quantile(0.5))


def recall(report: Report, embedder: Embedder, rows: list[Asked]) -> None:
    """Whether the right function is among those that are shown, for tasks that offer more than one."""
    offered = [row for row in rows if row.name and len(row.functions) > 1]
    for shown in dict.fromkeys((1, SHOWN)):
        selection = ToolShortlist(embedder, shown)
        found = [
            row.name in {f["name"] for f in selection.fitting(row.task, row.functions).functions} for row in offered
        ]
        if found:
            report.add("tools_bfcl", "metier selection", f"recall_at_{shown}", found)


def score_workbench(report: Report, bench: Bench, args: Namespace) -> None:
    """Whole tasks: the tables afterwards are those that the right calls leave."""
    folder = args.data / "backends" / "team_workbench"
    rows = read_set(args, "team_workbench")
    for system, adapter in SYSTEMS:
        outcomes: list[bool] = []
        failed: list[bool] = []
        for row in progress(rows, f"team_workbench · {system}"):
            office, right = Office(folder), Office(folder)
            right.do(row["answer"])
            day = f"Now is {NOW}, a Thursday."
            one = bench.specialist(adapter, SpecialistTools(office.tools), instructions=day)
            failed += [call.error is not None for call in answer(one, row["input"], WHOLE_TASK).tool_calls]
            outcomes.append(office.state() == right.state())
        report.add("team_workbench", system, "outcome_match", outcomes)
        acting = [ok for ok, row in zip(outcomes, rows, strict=True) if row["answer"]]
        if acting:
            report.add("team_workbench", system, "outcome_match_acting", acting)
        if failed:
            report.add("team_workbench", system, "failed_calls", failed)


def answer(specialist: Specialist, task: str, budget: Budget) -> Answer:
    """What the specialist says; it has no colleague to hand over to."""
    outcome = specialist.run(Brief(task=task, budget=budget))
    assert isinstance(outcome, Answer)
    return outcome


def asked_of(args: Namespace) -> list[Asked]:
    """The rows of the set that may be scored; at most `--limit`, half of them without a call as far as there are."""
    rows = read_asked(args.data)
    if args.data.resolve() == args.train.resolve() and not args.all:
        rows = [row for row in rows if part(row) == "score"]
    if args.limit is None or args.limit >= len(rows):
        return rows
    dice = random.Random(args.seed)
    some, none = [row for row in rows if row.name], [row for row in rows if not row.name]
    few = min(len(none), args.limit // 2)
    return dice.sample(some, min(len(some), args.limit - few)) + dice.sample(none, few)


def _valid(call: ToolCall, row: Asked) -> bool:
    schemas = {f["name"]: f["parameters"] for f in row.functions}
    return call.name in schemas and Draft202012Validator(schemas[call.name]).is_valid(call.arguments)


SETS = {"tools_bfcl": score_bfcl, "team_workbench": score_workbench}


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--skill", type=Path, help="another PEFT folder in place of the shipped skill")
    arguments.add_argument("--all", action="store_true", help="score functions too that the skill has seen")
    arguments.add_argument("--base", default=TeamCard.model_fields["base"].default)
    args = arguments.parse_args()
    skill = args.skill or skill_for("act", args.base)
    if skill is None:
        raise SystemExit(f"no skill for calls is shipped for {args.base}: name one with --skill")
    bench = Bench(args.base, skill)
    report = Report(args)
    for name in wanted(args, SETS):
        SETS[name](report, bench, args)
    bench.engine.close()
    report.finish()


if __name__ == "__main__":
    main()
