"""Trains the skill `quote`: `python -m metier.specialists.training.quote DATA OUT [--minutes 30] [--without SET]`."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ...core.files import sha256, write_atomic
from ...core.models import ModelStore
from .config import TrainConfig
from .example import TrainingExample
from .quote_data import SOURCES, Question, kept_aside, questions, show
from .trainer import train

MOST_ALIKE = 90
"""So many rows of one wording are enough ("Which law governs this agreement?" stands in 336)."""


def examples(found: list[Question], seed: int, rounds: int) -> list[TrainingExample]:
    """Prompts for training: each question `rounds` times, every time among other passages."""
    dice = random.Random(seed)
    dice.shuffle(found)
    asked: dict[str, int] = {}
    kept: list[Question] = []
    for question in found:
        asked[question.task] = asked.get(question.task, 0) + 1
        if asked[question.task] <= MOST_ALIKE:
            kept.append(question)
    return [show(q, dice).example for _ in range(rounds) for q in kept]


def main() -> None:
    """Train, and write the adapter with a record of how it came about."""
    args = _arguments()
    data, out, seed = args.data, args.out, args.seed
    sets = [name for name in SOURCES if name not in args.without]
    found = questions(data, sets)
    rows = examples([q for q in found if not kept_aside(q)], seed, args.rounds)
    aside = examples([q for q in found if kept_aside(q)], seed, 1)
    random.Random(seed).shuffle(aside)
    config = TrainConfig(minutes=args.minutes, epochs=1, seed=seed, rank=args.rank, alpha=2 * args.rank)
    model = ModelStore().find(args.base)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("starting", total=1.0)
        report = train(
            rows,
            model,
            out,
            config,
            validation=aside[:60],
            report=lambda line, done, left: progress.update(task, description=line, completed=done),
        )
    record = {
        "base": {"name": model.name, "gguf_sha256": model.sha256("gguf")},
        "data": {
            f"{name}.jsonl": sha256(data / f"{name}.jsonl") for name in sets if (data / f"{name}.jsonl").is_file()
        },
        "config": config.model_dump(),
        "rounds": args.rounds,
        "report": report.model_dump(),
    }
    write_atomic(out / "training.json", json.dumps(record, indent=2) + "\n")
    print(f"{out}: {report.steps} steps, {report.tokens} tokens, {report.tokens_per_second:.0f} tokens/s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the public sets")
    parser.add_argument("out", type=Path, help="folder of the adapter")
    parser.add_argument("--minutes", type=float, default=30.0, help="wall time for the training steps")
    parser.add_argument("--without", action="append", default=[], metavar="SET", help="a set to leave out")
    parser.add_argument("--base", default="smollm2-135m", help="name in the catalogue of models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2, help="prompts for each question")
    parser.add_argument("--rank", type=int, default=8)
    return parser.parse_args()


if __name__ == "__main__":
    main()
