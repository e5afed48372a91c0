"""The plant team at work: builds it once, then asks what `demo.jsonl` holds. `make demo` runs this.

python examples/plant/demo.py [--json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

from measure import before_and_after
from rich.console import Console

from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.team import Team
from metier.core.files import read_jsonl
from metier.core.types import Answer
from metier.serving.ask import show_answer
from metier.serving.options import progress_bars

HERE = Path(__file__).parent
WHAT = {
    "answer": "a question",
    "follow-up": "a follow-up: needs what was said before",
    "hand-off": "a hand-off: one specialist passes it on",
    "refusal": "nobody here knows",
}


def main() -> None:
    quiet = "--json" in sys.argv[1:]
    console = Console(quiet=quiet)
    blueprint = Blueprint.read(HERE)
    console.rule("building the plant team")
    with progress_bars(Console(stderr=True), quiet=quiet) as progress:
        report = build(blueprint, progress=progress)
    for line in report.lines():
        console.print(line, highlight=False)
    with Team.load(blueprint) as team:
        answers = ask_all(team, console)
    if quiet:
        print(json.dumps([answer.model_dump(mode="json") for answer in answers], indent=1))
    console.print()
    console.print(before_and_after())
    answered = sum(answer.kind == "answer" for answer in answers)
    console.rule(f"{answered} answered, {len(answers) - answered} refused")
    console.print('Your turn:  [bold].venv/bin/metier ask -t examples/plant "…"[/]   or  metier chat -t examples/plant')


def ask_all(team: Team, console: Console) -> list[Answer]:
    """Ask in order; rows with the same `thread` are one conversation."""
    run = f"demo-{perf_counter()}"
    answers = []
    for row in read_jsonl(HERE / "demo.jsonl"):
        console.print(f"\n[bold cyan]› {row['input']}[/]  [dim]({WHAT[row['kind']]})[/]", highlight=False)
        answers.append(team.ask(row["input"], thread_id=f"{run}-{row['thread']}"))
        show_answer(console, answers[-1])
    return answers


if __name__ == "__main__":
    main()
