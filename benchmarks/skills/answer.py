"""Trains the skill `answer`: what a colleague would say, in the words of the passages, one quote a line.

    python benchmarks/skills/answer.py DATA CORPORA OUT --start PEFT [--minutes 40]

DATA is the folder of the public evaluation sets (their training part is used), CORPORA that of the sets to learn from.
Lessons of our own (`lessons/`) teach the forms, the sets how people ask.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from metier.benchmarks.skills import call, label, own_lessons, quote, sql
from metier.benchmarks.skills.own_lessons import Item
from metier.benchmarks.skills.skill import Skill
from metier.core.files import sha256, write_atomic
from metier.core.models import ModelStore
from metier.core.types import Passage, Turn
from metier.specialists.adapters.folder import WEIGHTS
from metier.specialists.knowledge.citation import cite
from metier.specialists.prompt import NOT_FOUND, Message, TrainingExample
from metier.specialists.styles.quote import ANSWER, weighing
from metier.specialists.training.config import TrainConfig
from metier.specialists.training.train import train_adapter

SHARES = {
    "dstc9_faq": 80,
    "integreat_en": 30,
    "integreat_de": 15,
    "integreat_across": 45,
    "selqa": 40,
    "nq_open_oracle": 60,
    "fairytaleqa": 30,
    "wikitablequestions": 40,
    "timeqa": 20,
}
"""How many lessons of each set: sets in which people ask naturally get more (`integreat_across`: a German question
about an English text)."""

_YES_NO = re.compile(
    r"(?i)(is|are|do|does|did|can|could|may|might|will|would|should|must|has|have|was|were|am)\b(?!.* or )"
)
_OPENS = re.compile(r"(?i)(yes|no|sorry|unfortunately)[,.:!]+ *")
_DENIES = re.compile(r"(?i)\b(no|not|never|cannot|unable|without|neither|nor)\b|n't\b")


def corpora(folder: Path, dice: random.Random, part: float) -> Iterator[Item]:
    """Lessons of the public sets, so many of each as `SHARES` says."""
    for name, count in SHARES.items():
        rows = list(_across(folder) if name == "integreat_across" else _rows(folder, name))
        dice.shuffle(rows)
        made = (item for row in rows if (item := _item(name, row, dice)))
        yield from (item for item, _ in zip(made, range(round(count * part)), strict=False))


def _rows(folder: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(folder / "quote" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _across(folder: Path) -> Iterator[dict[str, Any]]:
    english = {row["id"].removesuffix("-en"): row for row in _rows(folder, "integreat_en")}
    for row in _rows(folder, "integreat_de"):
        if other := english.get(row["id"].removesuffix("-de")):
            yield {**other, "question": row["question"]}


def _item(name: str, row: dict[str, Any], dice: random.Random) -> Item | None:
    passage, answer = row["passage"], row["answer"].strip()
    if name == "dstc9_faq":
        return _faq(row)
    if name == "fairytaleqa" and not row["question"].lower().startswith(("why", "how")):
        return None
    if not row.get("answerable", True):
        few = dice.random() < 0.5
        return Item(row["question"], NOT_FOUND, [quote.window(passage, "", dice, 110)]) if few else None
    if len(answer.split()) > 50 or not answer:
        return None
    shown = quote.window(passage, answer, dice, 130)
    lines = [line for line in answer.split("\n") if line.strip()]
    if not all(_stands(line, shown) for line in lines):
        return None
    return Item(row["question"], "\n".join(lines), [shown])


def _faq(row: dict[str, Any]) -> Item | None:
    """Answers of a hotel's desk: whether it is yes or no is taken out of the text and has to be read off the rest."""
    lines = [_plain(line) for line in row["passage"].split("\n")[:14]]
    if not row.get("answerable", True):
        return Item(row["question"], NOT_FOUND, ["\n".join(lines)])
    answer = row["answer"].strip()
    rest = _plain(answer)
    if not any(rest in line for line in lines) or len(rest.split()) < 4:
        return None
    if not _YES_NO.match(row["question"]):
        return Item(row["question"], rest, ["\n".join(lines)])
    opening = _OPENS.match(answer)
    denied = opening[1].lower() != "yes" if opening else bool(_DENIES.search(rest))
    return Item(row["question"], f"{'No' if denied else 'Yes'}.\n{rest}", ["\n".join(lines)])


def _plain(line: str) -> str:
    rest = _OPENS.sub("", line.strip())
    return rest[:1].upper() + rest[1:]


def _stands(line: str, text: str) -> bool:
    return cite(line, [Passage(id="", text=text, source="")]) is not None


def public(folder: Path, dice: random.Random, each: int) -> Iterator[Item]:
    """Annual reports, extension bulletins and contracts: the training part of the evaluation sets, short answers."""
    for name in ("finance_tatqa_span", "agri_agxqa", "law_cuad_qa"):
        rows = [q for q in quote.questions(folder, [name]) if not quote.aside(q)]
        for question in dice.sample(rows, min(each, len(rows))):
            shown = quote.show(question, dice, passages=dice.choice((1, 2)), longest=90)
            yield Item(question.task, question.answer if shown.answerable else NOT_FOUND, list(shown.passages))


def verdicts(own: Path, sets: Path, dice: random.Random, part: float) -> Iterator[TrainingExample]:
    """Sentences that say yes or no to a question, by themselves: of our own lessons, and of a hotel's desk where the
    answer begins with one of the two.
    """
    for lesson in own_lessons.read_lessons(own):
        for question in lesson.questions:
            if question.opening and not question.before:
                yield TrainingExample(weighing(question.task, " ".join(question.lines)), f"{question.opening}.")
    rows = list(_said_outright(sets))
    yield from dice.sample(rows, min(len(rows), round(_OUTRIGHT * part)))


def _said_outright(sets: Path) -> Iterator[TrainingExample]:
    for row in _rows(sets, "dstc9_faq"):
        opening = _OPENS.match(row["answer"].strip())
        rest = _plain(row["answer"])
        if opening and opening[1].lower() in ("yes", "no") and _YES_NO.match(row["question"]) and len(rest.split()) > 4:
            yield TrainingExample(weighing(row["question"], rest), f"{opening[1].capitalize()}.")


_OUTRIGHT = 600
"""Verdicts of a hotel's desk."""

REHEARSED: dict[str, tuple[Skill, tuple[str, ...], int]] = {
    "call": (call.SKILL, ("tools_bfcl",), 160),
    "label": (label.SKILL, ("law_cuad_clause", "industrial_fsiq", "intent_banking77", "route_clinc"), 60),
    "sql": (sql.SKILL, ("sql_geoquery", "sql_defog"), 60),
}
"""Prompts of the other ways of working that the same adapter serves: of which sets, and how many."""


def rehearsed(data: Path, seed: int, part: float) -> Iterator[TrainingExample]:
    """A few lessons of the other styles, so that they are not forgotten over this one."""
    for skill, sets, count in REHEARSED.values():
        examples = skill.lessons(data, sets, seed, 1).examples
        yield from random.Random(seed).sample(examples, min(len(examples), round(count * part)))


def lessons(data: Path, sets: Path, own: Path, seed: int, rounds: int, part: float) -> list[TrainingExample]:
    """Everything, shuffled."""
    dice = random.Random(seed)
    items = [*own_lessons.items(dice, rounds, own), *corpora(sets, dice, part), *public(data, dice, round(50 * part))]
    found = [TrainingExample(_prompt(item), item.answer) for item in items]
    found += [*rehearsed(data, seed, part), *verdicts(own, sets, dice, part)]
    dice.shuffle(found)
    return found


def _prompt(item: Item) -> list[Message]:
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    window = [Turn(role=role, text=text) for role, text in zip(roles, item.before, strict=False)]
    return ANSWER.prompt(item.task, item.passages, window=window)


def main() -> None:
    args = _arguments()
    examples = lessons(args.data, args.corpora, args.lessons, args.seed, args.rounds, args.part)
    # Ten questions a step: those over the same passages cost little more than one.
    config = TrainConfig(
        minutes=args.minutes,
        epochs=1,
        seed=args.seed,
        learning_rate=args.rate,
        longest=900,
        batch_tokens=4096,
        patience=99,
    )
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()) as bars:
        bar = bars.add_task("starting", total=None)
        report = train_adapter(
            examples,
            ModelStore().find(args.base),
            args.out,
            config,
            start=args.start,
            progress=lambda what, done, total: bars.update(bar, description=what, completed=done, total=total),
        )
    record = {"base": args.base, "start": sha256(args.start / WEIGHTS), "shares": SHARES, "report": report.model_dump()}
    write_atomic(args.out / "training.json", json.dumps(record, indent=2) + "\n")
    print(f"{args.out}: {report.steps} steps, {report.tokens} tokens, {report.tokens_per_second:.0f} tokens/s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains the skill 'answer'.")
    parser.add_argument("data", type=Path, help="folder with the public evaluation sets")
    parser.add_argument("corpora", type=Path, help="folder with the public sets to learn from")
    parser.add_argument("out", type=Path, help="folder of the adapter")
    parser.add_argument("--start", type=Path, required=True, help="an adapter (PEFT folder) to go on from")
    parser.add_argument("--lessons", type=Path, default=own_lessons.FOLDER, help="folder of our own lessons")
    parser.add_argument("--base", default="qwen2.5-coder-0.5b")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--rounds", type=int, default=2, help="how often each lesson of our own is told")
    parser.add_argument("--part", type=float, default=1.0, help="share of the public sets' lessons")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
