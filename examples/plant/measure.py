"""What the plant's specialists gain from training: asks all evaluation questions, keeps the figures for the demo.

python examples/plant/measure.py      # writes measured.json; some minutes

Base (no adapter) and the shipped skill, behind the same search.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.evaluate import compare, open_evaluation
from metier.core.files import write_atomic
from metier.serving.options import progress_bars

HERE = Path(__file__).parent
FIGURES = HERE / "measured.json"
SYSTEMS = ("base", "skill")


def main() -> None:
    blueprint = Blueprint.read(HERE)
    with progress_bars(Console(stderr=True)) as progress:
        build(blueprint, progress=progress)
        with open_evaluation(blueprint, progress) as bench:
            found = compare(bench, list(blueprint.specialists), SYSTEMS)
    rows = [
        {
            "specialist": summary.specialist,
            "metric": summary.gate,
            "questions": len(summary.systems[0].results),
            **{system.system: round(system.metrics[summary.gate].value, 3) for system in summary.systems},
        }
        for summary in found.specialists
    ]
    write_atomic(FIGURES, json.dumps({"measured": date.today().isoformat(), "rows": rows}, indent=1) + "\n")
    Console().print(before_and_after())


def before_and_after() -> Table:
    """The figures that were measured last."""
    kept = json.loads(FIGURES.read_text(encoding="utf-8"))
    table = Table(
        title=f"before and after training, held-out questions ({kept['measured']}: python examples/plant/measure.py)",
        title_justify="left",
    )
    for name in ("specialist", "metric", "questions", *SYSTEMS):
        table.add_column(name, justify="left" if name in ("specialist", "metric") else "right")
    for row in kept["rows"]:
        cells = [f"{100 * row[system]:.0f}" if system in row else "–" for system in SYSTEMS]
        table.add_row(row["specialist"], row["metric"], str(row["questions"]), *cells)
    return table


if __name__ == "__main__":
    main()
