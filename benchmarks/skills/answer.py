"""Trains the skill `answer`: what a colleague would say, in the words of the passages, one quote a line.

    python benchmarks/skills/answer.py DATA CORPORA OUT --start PEFT [--minutes 40]
    python benchmarks/skills/answer.py DATA CORPORA OUT.npz --pack --part 30 --rounds 2     # for `reader_gpu.py`

DATA is the folder of the public evaluation sets (their training part is used), CORPORA that of the sets to learn from.
Lessons of our own (`lessons/`) teach the forms, the sets how people ask.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from metier.benchmarks.skills import call, call_corpora, label, own_lessons, quote, sql, sql_corpora
from metier.benchmarks.skills.call_data import kept_aside_names, read_asked
from metier.benchmarks.skills.own_lessons import Item
from metier.benchmarks.skills.skill import Skill
from metier.core.files import sha256, write_atomic
from metier.core.models import LocalModel, ModelStore
from metier.core.text import content_stems
from metier.core.types import Turn
from metier.specialists.adapters.folder import WEIGHTS
from metier.specialists.engines.unpack import load_tokenizer
from metier.specialists.prompt import NOT_FOUND, Message, TrainingExample
from metier.specialists.styles.quote import ANSWER, weighing
from metier.specialists.training.config import TrainConfig
from metier.specialists.training.examples import encode
from metier.specialists.training.train import train_adapter

SHARES = {
    "dstc9_faq": 80,
    "integreat_en": 30,
    "integreat_de": 15,
    "integreat_across": 45,
    "selqa": 50,
    "nq_open_oracle": 60,
    "fairytaleqa": 30,
    "wikitablequestions": 60,
    "timeqa": 20,
    "aitqa": 15,
    "expmrc_squad_dev": 15,
}
"""How many lessons of each set: sets in which people ask naturally get more (`integreat_across`: a German question
about an English text)."""

LONGEST = 1100
"""Tokens of a prompt with its answer; longer ones are left out."""
_BESIDE = (0, 1, 2, 2)
"""Passages of other questions that stand beside the one that answers."""
_POOL = 40
"""Passages of which the nearest are taken."""
_ROWS = 7
"""Rows of a table that are shown."""

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
        made = [item for row in rows if (item := _item(name, row, dice))]
        for item in made[: round(count * part)]:
            yield _in_company(item, made, dice)


def _in_company(item: Item, others: Sequence[Item], dice: random.Random) -> Item:
    """Passages of other questions beside its own: those of a few dozen that share most words with it, and do not answer
    it.
    """
    said = item.answer.split("\n")[-1].casefold()
    asked = content_stems(item.task)
    pool = {text for other in dice.sample(others, min(_POOL, len(others))) for text in other.passages}
    strange = [text for text in sorted(pool - {*item.passages}) if said not in text.casefold()]
    strange.sort(key=lambda text: -len(asked & content_stems(text)))
    shown = [*item.passages, *strange[: dice.choice(_BESIDE)]]
    dice.shuffle(shown)
    return item._replace(passages=shown)


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
    if name in ("wikitablequestions", "aitqa"):
        return _cell(row["question"], passage, answer, dice)
    shown = quote.window(passage, answer, dice, 130)
    lines = [line for line in answer.split("\n") if line.strip()]
    if not all(own_lessons.stands(line, shown) for line in lines):
        return None
    task = _asked(row["question"]) if dice.random() < 0.5 else row["question"]
    return Item(task, "\n".join(lines), [shown])


def _cell(task: str, table: str, answer: str, dice: random.Random) -> Item | None:
    """A question to a table: some of its rows, around the one in which the answer stands."""
    written = _table_rows(table)
    holding = [number for number, line in enumerate(written) if f": {answer};" in f"{line};"]
    if len(holding) != 1 or any(len(line.split()) > 60 for line in written):
        return None
    first = max(0, holding[0] - dice.randrange(_ROWS))
    shown = "\n".join(written[first : first + _ROWS])
    return Item(_asked(task), answer, [shown]) if own_lessons.stands(answer, shown) else None


def _table_rows(table: str) -> list[str]:
    """The rows of a table whose cells are divided by bars, each with the names of its columns, as documents' tables are
    read.
    """
    head, *rows = ([cell.strip() for cell in line.split(" | ")] for line in table.split("\n"))
    cells = (
        [f"{name}: {cell}" if name else cell for name, cell in zip(head, row, strict=False) if cell] for row in rows
    )
    return ["; ".join(row) for row in cells]


def _asked(task: str) -> str:
    """With a capital and a question mark, as most people write."""
    plain = task.strip().rstrip("?. ")
    return f"{plain[:1].upper()}{plain[1:]}?"


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


PUBLIC = ("finance_tatqa_span", "agri_agxqa", "law_cuad_qa")
"""Annual reports, extension bulletins and contracts, with short answers."""


def public(folder: Path, dice: random.Random, each: int) -> Iterator[TrainingExample]:
    """The training part of the evaluation sets: passages cut, for this style, and whole, for the style `quote`."""
    for name in PUBLIC:
        rows = [q for q in quote.questions(folder, [name]) if not quote.aside(q)]
        for question in dice.sample(rows, min(each, len(rows))):
            shown = quote.show(question, dice, passages=dice.choice((1, 2, 3)), longest=dice.choice((90, 130, None)))
            answer = question.answer if shown.answerable else NOT_FOUND
            yield TrainingExample(_prompt(Item(question.task, answer, list(shown.passages))), answer)
            yield quote.show(question, dice, longest=None).example


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
_QUERIES = 60
"""Prompts of public sets with SQL."""
_CALLS = 0.02
"""Share of the prompts of public sets with functions."""

REHEARSED: dict[str, tuple[Skill, tuple[str, ...], int]] = {
    "quote": (quote.SKILL, tuple(quote.SKILL.sources), 50),
    "call": (call.SKILL, ("tools_bfcl",), 160),
    "label": (label.SKILL, ("law_cuad_clause", "industrial_fsiq", "intent_banking77", "route_clinc"), 60),
    "sql": (sql.SKILL, ("sql_defog",), 60),
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
    items = [*own_lessons.items(dice, rounds, own), *corpora(sets, dice, part)]
    found = [TrainingExample(_prompt(item), item.answer) for item in items]
    found += [*public(data, dice, round(50 * part)), *rehearsed(data, seed, part), *verdicts(own, sets, dice, part)]
    found += dice.sample(queries := [*sql_corpora.examples(sets, dice)], min(len(queries), round(_QUERIES * part)))
    unseen = kept_aside_names(read_asked(data))
    found += call_corpora.examples(sets, dice, min(1.0, part * _CALLS), unseen)
    dice.shuffle(found)
    return found


def _prompt(item: Item) -> list[Message]:
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    window = [Turn(role=role, text=text) for role, text in zip(roles, item.before, strict=False)]
    return ANSWER.prompt(item.task, item.passages, window=window)


def pack(examples: Sequence[TrainingExample], base: LocalModel, out: Path, longest: int) -> None:
    """Examples as token ids, for a machine that has no tokenizer: `ids` of all rows one after the other, `row` where
    each begins (and the last one ends), `answers` with a bit for each token: whether it is learnt.
    """
    rows, left_out = encode(examples, load_tokenizer(base.files["gguf"]), longest)
    ids = np.concatenate([np.array(row.ids, dtype=np.uint32) for row in rows])
    begins = np.cumsum([0, *(len(row.ids) for row in rows)])
    answers = np.zeros(len(ids), dtype=bool)
    for row, begin in zip(rows, begins, strict=False):
        for start, end in row.answers:
            answers[begin + start : begin + end] = True
    np.savez_compressed(out, ids=ids, row=begins.astype(np.uint64), answers=np.packbits(answers))
    print(f"{out}: {len(rows)} rows, {len(ids)} tokens, {answers.sum()} of answers; {left_out} rows were too long")


def main() -> None:
    args = _arguments()
    examples = lessons(args.data, args.corpora, args.lessons, args.seed, args.rounds, args.part)
    if args.pack:
        pack(examples, ModelStore().find(args.base), args.out, LONGEST)
        return
    # Ten questions a step: those over the same passages cost little more than one.
    config = TrainConfig(
        minutes=args.minutes,
        epochs=1,
        seed=args.seed,
        learning_rate=args.rate,
        longest=LONGEST,
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
    parser.add_argument("--pack", action="store_true", help="write the lessons as token ids, for `reader_gpu.py`")
    parser.add_argument("--start", type=Path, help="an adapter (PEFT folder) to go on from")
    parser.add_argument("--lessons", type=Path, default=own_lessons.FOLDER, help="folder of our own lessons")
    parser.add_argument("--base", default="qwen2.5-coder-0.5b")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--rounds", type=int, default=2, help="how often each lesson of our own is told")
    parser.add_argument("--part", type=float, default=1.0, help="share of the public sets' lessons")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not (args.pack or args.start):
        parser.error("--start is needed, unless with --pack")
    return args


if __name__ == "__main__":
    main()
