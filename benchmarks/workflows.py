"""Workflows: what a step costs beside its work, and whether rows come out once whatever is killed.

`python benchmarks/workflows.py DATA [--limit ROWS] [--steps N] [--seed S] [--json OUT]`

`rows_killed` runs a workflow of `--steps` steps (200) over `--limit` rows (5,000) with `metier run --in --out`, kills
the process (SIGKILL) three times at random moments and starts it again: `right` is the share of rows whose result is
right, `once` the share that stands in the file exactly once. `step_cost` is what a chain of `--steps` small steps takes
for each step, in seconds: as rows (one after another, the row is the unit), as a LangGraph graph in memory, and saved
after each step on SQLite. No model is asked: DATA is not read, the rows are made here.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from harness import Report, parser

from metier.agents.cards import Blueprint, TeamCard
from metier.agents.threads import open_threads
from metier.agents.workflows.execute import Workflow
from metier.agents.workflows.files import write_plan
from metier.agents.workflows.plan import Plan
from metier.specialists.card import SpecialistCard

ROWS = 5_000
KILLS = 3
RUNS = 5
"""Of which the quickest counts."""


def chain(steps: int) -> Plan:
    """Sums and texts in turn, each made of the one before; the last is `x` and as many ones as there are sums."""
    made: dict[str, Any] = {"s0": {"calculate": "{{ x }} + 1"}}
    for number in range(1, steps):
        before = f"{{{{ s{number - 1} }}}}"
        made[f"s{number}"] = {"join": before} if number % 2 else {"calculate": f"{before} + 1"}
    return Plan.model_validate({"name": "chain", "parameters": {"x": {"type": "integer"}}, "steps": made})


class _Nobody:
    """A team that nobody asks; its runs are saved."""

    def __init__(self, folder: Path) -> None:
        card = SpecialistCard(name="one", description="Is never asked here.")
        self.blueprint = Blueprint.of(TeamCard(name="nobody", specialists=["one"]), [card], folder)
        self.specialists: dict[str, Any] = {}
        self.threads = open_threads(self.blueprint)

    def take(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


def step_cost(report: Report, steps: int) -> None:
    """Seconds a step, in each of the three ways."""
    plan = chain(steps)
    with tempfile.TemporaryDirectory() as folder:
        team = _Nobody(Path(folder))
        with closing(team.threads):
            workflow = Workflow(plan, team)  # pyright: ignore[reportArgumentType]
            ways = {
                "metier rows": lambda: workflow.run_row({"x": 1}),
                "metier graph": lambda: workflow.run({"x": 1}, durable=False),
                "metier saved": lambda: workflow.run({"x": 1}),
            }
            for name, work in ways.items():
                work()
                seconds = []
                for _ in range(RUNS):
                    start = time.process_time()
                    work()
                    seconds.append((time.process_time() - start) / steps)
                report.add("step_cost", name, "cpu_seconds", [min(seconds)])


def rows_killed(report: Report, rows: int, steps: int, dice: random.Random) -> None:
    """A file of rows, killed three times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_plan(chain(steps), folder / "chain.yaml")
        source, target = folder / "in.jsonl", folder / "out.jsonl"
        source.write_text("".join(f'{{"x": {x}}}\n' for x in range(rows)))
        command = [sys.executable, "-m", "metier", "run", str(folder / "chain.yaml"), "-t", str(folder), "--json"]
        command += ["--in", str(source), "--out", str(target)]
        start = time.perf_counter()
        for goal in sorted(dice.sample(range(rows // 10, 9 * rows // 10), KILLS)):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            while process.poll() is None and _lines(target) < goal:
                time.sleep(dice.uniform(0.01, 0.05))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            print(f"killed after {_lines(target)} of {rows} rows, {time.perf_counter() - start:.0f} s", flush=True)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        found = [json.loads(line) for line in target.read_text().splitlines()]
        times = Counter(row["row"] for row in found)
        right = {row["row"]: row["text"] == str(row["row"] - 1 + (steps + 1) // 2) for row in found}
        numbers = range(1, rows + 1)
        report.add("rows_killed", "metier", "right", [float(right.get(number, False)) for number in numbers])
        report.add("rows_killed", "metier", "once", [float(times[number] == 1) for number in numbers])
        report.add("rows_killed", "metier", "rows_a_second", [rows / seconds])


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def main() -> None:
    """Measure, and say it."""
    made = parser("What a step of a workflow costs, and whether rows come out once.")
    made.add_argument("--steps", type=int, default=200, metavar="N", help="steps of the workflow")
    args: Namespace = made.parse_args()
    report = Report(args)
    if not args.only or "step_cost" in args.only:
        step_cost(report, args.steps)
    if not args.only or "rows_killed" in args.only:
        rows_killed(report, args.limit or ROWS, args.steps, random.Random(args.seed))
    report.finish()


if __name__ == "__main__":
    main()
