"""What all skills share: a description, the arguments of their training scripts, the run, and the record of it.

A skill's script is a `Skill` and `main(SKILL)`; `seal.py` makes the record and the figures into what is shipped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ...core.files import sha256, write_atomic
from ...core.models import LocalModel, ModelStore
from ..adapters.choose import find_skill
from ..adapters.folder import WEIGHTS
from .config import TrainConfig, TrainReport
from .example import TrainingExample
from .seal import TRAINING
from .trainer import train


class Source(NamedTuple):
    """Where a set comes from; only sets that may be redistributed are learnt from."""

    origin: str
    licence: str


class Lesson(NamedTuple):
    """What is learnt from, and rows of other documents, functions or databases for early stopping."""

    examples: list[TrainingExample]
    aside: list[TrainingExample]


Lessons = Callable[[Path, Sequence[str], int, int], Lesson]
"""The data's folder, names of the sets to use, the seed, and how many prompts to make of each row → a lesson."""


@dataclass(frozen=True)
class Skill:
    """A way of working that is learnt once and shipped. The texts go into the model card."""

    name: str
    title: str
    """After the name: what it does."""
    prompt: str
    """Who makes its prompts and what keeps its answers in form."""
    preparation: str
    """What was done to the rows, and how some were kept aside (licences ask for a note of changes)."""
    limits: str
    tags: tuple[str, ...]
    sources: Mapping[str, Source]
    """Set (a file's name without `.jsonl`) to its origin."""
    lessons: Lessons


def main(skill: Skill) -> None:
    """Train from the command line, and write the adapter with `training.json`, the record of how it came about."""
    args = _arguments(skill)
    sets = [name for name in skill.sources if name not in args.without and (args.data / f"{name}.jsonl").is_file()]
    lesson = skill.lessons(args.data, sets, args.seed, args.rounds)
    config = TrainConfig(
        minutes=args.minutes, epochs=1, seed=args.seed, rank=args.rank, alpha=2 * args.rank, longest=args.longest
    )
    model = ModelStore().find(args.base)
    start = find_skill(skill.name) if args.further else None
    report = _train(lesson, model, args.out, config, start)
    record = _record(skill, args.data, sets) | {
        "base": {"name": model.name, "gguf_sha256": model.sha256("gguf")},
        "config": config.model_dump(),
        "command": _command(skill, args),
        "report": report.model_dump(),
    }
    if start:
        record["start"] = sha256(start / WEIGHTS)
    write_atomic(args.out / TRAINING, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    print(f"{args.out}: {report.steps} steps, {report.tokens} tokens, {report.tokens_per_second:.0f} tokens/s")


def _train(lesson: Lesson, model: LocalModel, out: Path, config: TrainConfig, start: Path | None) -> TrainReport:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("starting", total=1.0)
        return train(
            lesson.examples,
            model,
            out,
            config,
            start=start,
            validation=lesson.aside,
            report=lambda line, done, left: progress.update(task, description=line, completed=done),
        )


def _record(skill: Skill, folder: Path, sets: Sequence[str]) -> dict[str, Any]:
    """What `seal` needs to know of the skill."""
    texts = {k: v for k, v in asdict(skill).items() if k not in ("name", "sources", "lessons")}
    data = {
        f"{name}.jsonl": {**skill.sources[name]._asdict(), "sha256": sha256(folder / f"{name}.jsonl")} for name in sets
    }
    return {"skill": skill.name, "licence": "Apache-2.0", **texts, "data": data}


def _command(skill: Skill, args: argparse.Namespace) -> str:
    """The line that does this again."""
    without = "".join(f" --without {name}" for name in args.without)
    numbers = " ".join(f"--{name} {getattr(args, name):g}" for name in ("minutes", "rounds", "rank", "longest", "seed"))
    further = " --further" if args.further else ""
    return f"python -m metier.specialists.training.{skill.name} DATA OUT {numbers}{without}{further}"


def _arguments(skill: Skill) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Trains the skill '{skill.name}': {skill.title}.")
    parser.add_argument("data", type=Path, help="folder with the public sets")
    parser.add_argument("out", type=Path, help="folder of the adapter")
    parser.add_argument("--minutes", type=float, default=30.0, help="wall time for the training steps")
    parser.add_argument("--without", action="append", default=[], metavar="SET", help="a set to leave out")
    parser.add_argument("--further", action="store_true", help="go on from the skill that is shipped")
    parser.add_argument("--base", default="smollm2-135m", help="name in the catalogue of models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2, help="prompts for each row")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--longest", type=int, default=1024, help="leave out prompts with more tokens than this")
    return parser.parse_args()
