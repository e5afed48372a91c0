"""What the scripts of all skills share: the description of a skill, its training from the command line, its seal.

    python benchmarks/skills/quote.py DATA OUT --minutes 30                  # train
    python benchmarks/specialists.py DATA --skill OUT --json FIGURES.json    # measure
    python benchmarks/skills/skill.py OUT FIGURES.json                       # seal: model card, figures and hashes

A skill's script is a `Skill` and `main(SKILL)`. What is sealed may be shipped, in `specialists/skills/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from metier.core.files import read_jsonl, sha256, write_atomic
from metier.core.models import LocalModel, ModelStore
from metier.specialists.adapters.choose import find_skill
from metier.specialists.adapters.folder import WEIGHTS
from metier.specialists.prompt import TrainingExample
from metier.specialists.training.config import TrainConfig, TrainReport
from metier.specialists.training.train import train, write_record

BASE = "smollm2-135m"
"""The base that skills are made for, in the catalogue of models."""

TRAINING = "training.json"
"""The record that a training leaves in the adapter's folder, until it is sealed."""


# The public sets, and the part of them that is kept aside.

Row = dict[str, Any]


def read_rows(folder: Path, name: str) -> list[Row]:
    """The rows of `name`.jsonl; none when the file is absent. Only a newline ends a row."""
    file = folder / f"{name}.jsonl"
    return read_jsonl(file) if file.is_file() else []


def kept_aside(group: str, share: float = 0.15) -> bool:
    """Whether a group of rows (a document, a database, a function) belongs to the part that is only scored.

    It depends on the group's name alone, so that rows that come later do not move the others.
    """
    return hashlib.sha256(group.encode()).digest()[0] / 256 < share


# A skill.


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


# Its training.


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
    with Progress(*columns) as bars:
        bar = bars.add_task("starting", total=None)
        return train(
            lesson.examples,
            model,
            out,
            config,
            start=start,
            validation=lesson.aside,
            progress=lambda what, done, total: bars.update(bar, description=what, completed=done, total=total),
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
    numbers = " ".join(f"--{name} {getattr(args, name):g}" for name in ("minutes", "rounds", "rank", "longest", "seed"))
    without = "".join(f" --without {name}" for name in args.without)
    base = "" if args.base == BASE else f" --base {args.base}"
    further = " --further" if args.further else ""
    return f"python benchmarks/skills/{skill.name}.py DATA OUT {numbers}{without}{base}{further}"


def _arguments(skill: Skill) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Trains the skill '{skill.name}': {skill.title}.")
    parser.add_argument("data", type=Path, help="folder with the public sets")
    parser.add_argument("out", type=Path, help="folder of the adapter")
    parser.add_argument("--minutes", type=float, default=30.0, help="wall time for the training steps")
    parser.add_argument("--without", action="append", default=[], metavar="SET", help="a set to leave out")
    parser.add_argument("--further", action="store_true", help="go on from the skill that is shipped")
    parser.add_argument("--base", default=BASE, help="name in the catalogue of models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2, help="prompts for each row")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--longest", type=int, default=1024, help="leave out prompts with more tokens than this")
    return parser.parse_args()


# Its seal: the model card, and what no file may change after.

CARD = """---
base_model: {base[name]}
library_name: peft
license: apache-2.0
tags: [{labels}]
---

# {skill}: {title}

A LoRA adapter (rank {config[rank]}, all linear layers, f16) for {base[name]}.
{prompt}

## Data

{preparation}

{lineage}

The texts quoted inside the sets belong to their authors. No other data was used.

## Training

{report[steps]} steps, {report[tokens]} tokens, {minutes:.0f} minutes on two CPU cores shared with other work.
Trained on the unpacked weights of the GGUF with SHA-256 `{base[gguf_sha256]}`.

    {command}

## Figures

On rows that were kept aside, through the embedded engine, in percent (`_s`: seconds) with 95 % bootstrap intervals:

{figures}

## Limits

{limits}
"""


def seal(folder: Path, measured: Path) -> None:
    """Write README.md and metier.json, and remove the loose training record."""
    loose = folder / TRAINING
    training = json.loads(loose.read_text(encoding="utf-8"))
    metrics = json.loads(measured.read_text(encoding="utf-8"))
    write_record(folder, {**training, "metrics": metrics}, card(training, metrics["rows"]))
    loose.unlink()


def card(training: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The model card, out of the training's record and the figures."""
    texts = {name: textwrap.fill(training[name], 120) for name in ("prompt", "preparation", "limits")}
    data = [[name, s["origin"], s["licence"], f"`{s['sha256'][:16]}…`"] for name, s in training["data"].items()]
    return CARD.format(
        **{**training, **texts},
        labels=", ".join(["lora", *training["tags"], "metier"]),
        lineage=_table(["file", "origin", "licence", "SHA-256"], data),
        minutes=training["report"]["seconds"] / 60,
        figures=figures(rows),
    )


def figures(rows: list[dict[str, Any]]) -> str:
    """A benchmark's rows as a table, one line for a set and system."""
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        lines.setdefault((row["set"], row["system"]), {"n": str(row["n"])})[row["metric"]] = _cell(row)
    body = [[*key, cells["n"], *(cells.get(m, "") for m in metrics)] for key, cells in lines.items()]
    return _table(["set", "system", "n", *metrics], body)


def _cell(row: dict[str, Any]) -> str:
    """Seconds as they are, fractions in percent."""
    if row["metric"].endswith("_s"):
        return f"{row['value']:.2f} ({row['low']:.2f}–{row['high']:.2f})"
    return f"{100 * row['value']:.1f} ({100 * row['low']:.0f}–{100 * row['high']:.0f})"


def _table(head: list[str], body: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])


def _sealed_from_the_command_line() -> None:
    parser = argparse.ArgumentParser(description="Seals a trained skill: its model card, its record, its hashes.")
    parser.add_argument("folder", type=Path, help="the trained adapter")
    parser.add_argument("figures", type=Path, help="what `benchmarks/specialists.py --json` or `tools.py --json` wrote")
    args = parser.parse_args()
    seal(args.folder, args.figures)


if __name__ == "__main__":
    _sealed_from_the_command_line()
