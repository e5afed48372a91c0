"""Trains the skill `quote`, which answers with the words of a passage or says that they are not there.

    python benchmarks/skills/quote.py DATA OUT [--minutes 30] [--without SET]

DATA is the folder of the public sets; OUT becomes the adapter's, a PEFT repository.
"""

from __future__ import annotations

import csv
import functools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metier.benchmarks.skills.skill import Lesson, Row, Skill, Source, kept_aside, main, read_rows
from metier.specialists.prompt import NOT_FOUND, TrainingExample
from metier.specialists.styles.quote import QUOTE

# Questions whose answers stand in a passage, from public sets.


@dataclass(frozen=True)
class Question:
    """A question, its passage, and passages that look like it but do not answer it."""

    set: str
    group: str
    """Document or contract: what a split must not cut through."""
    task: str
    answer: str
    """Words of `passage`; empty when no passage answers."""
    passage: str
    distractors: tuple[str, ...]
    answers: tuple[str, ...] = ()
    """All accepted answers, for evaluation."""


SETS = {"tatqa": "finance_tatqa_span", "agxqa": "agri_agxqa", "cuad": "law_cuad_qa"}


def finance(folder: Path) -> Iterator[Question]:
    """Annual reports (TAT-QA): the other paragraphs of the same report are the distractors."""
    rows = read_rows(folder, "finance_tatqa_span")
    everywhere = sorted({p for row in rows for p in row["meta"]["all_paragraphs"]})
    for row in rows:
        near = [p for p in row["meta"]["all_paragraphs"] if p not in row["context"]]
        yield _question(row, row["meta"]["doc"], near, everywhere)


def agriculture(folder: Path) -> Iterator[Question]:
    """Extension bulletins (AgXQA)."""
    rows = read_rows(folder, "agri_agxqa")
    everywhere = sorted({row["context"] for row in rows})
    for row in rows:
        yield _question(row, str(row["meta"]["doc"]), [], everywhere)


def law(folder: Path) -> Iterator[Question]:
    """Contracts (CUAD). Clauses of another type are the distractors: one of the same type would answer as well."""
    clauses = read_rows(folder, "law_cuad_clause")
    for row in read_rows(folder, "law_cuad_qa"):
        kind = row["meta"]["category"]
        others = [c["input"] for c in clauses if kind not in c["answers"] and len(c["input"].split()) > 12]
        yield _question(row, row["meta"]["contract"], [], others)


def mail(folder: Path) -> Iterator[Question]:
    """Questions about an e-mail (BIPIA), many without an answer in it. Half of the mails also hold an attack."""
    rows = read_rows(folder, "safety_bipia_email")
    everywhere = sorted({row["context"] for row in rows})
    for number, row in enumerate(rows):
        stated = row["answer"] in row["context"]
        context = f"{row['context']}\n{row['attack']}" if number % 2 else row["context"]
        task = re.sub(r"^Q:\s*", "", row["input"])
        yield _question({**row, "input": task, "context": context}, row["id"], [], everywhere, stated)


def support(folder: Path) -> Iterator[Question]:
    """Questions that the passages do not answer (MTRAG-UN)."""
    rows = read_rows(folder, "grounded_mtragun")
    for row in rows:
        if "UNANSWERABLE" not in row["meta"]["answerability"]:
            continue
        asked = _terms(row["input"])
        others = {p for r in rows if r["domain"] == row["domain"] for p in r["context"]}
        near = sorted(others, key=lambda p: (-len(asked & _terms(p)), p))[:8]
        yield Question("grounded_mtragun", row["meta"]["conv"], row["input"], "", "", tuple(near))


SOURCES: dict[str, tuple[str, Callable[[Path], Iterator[Question]]]] = {
    "finance_tatqa_span": ("finance", finance),
    "agri_agxqa": ("agriculture", agriculture),
    "law_cuad_qa": ("law", law),
    "safety_bipia_email": ("mail", mail),
    "grounded_mtragun": ("support", support),
}
"""Set to domain and reader."""

UNANSWERED = ("safety_bipia_email", "grounded_mtragun")
"""Sets that hold questions without an answer."""


def questions(folder: Path, sets: Sequence[str] = tuple(SOURCES)) -> list[Question]:
    """All questions of the sets that are in `folder`."""
    every = [q for name in sets for q in SOURCES[name][1](folder)]
    # Some gold answers are not in the passage's words ("Yes"): nothing to quote, yet not unanswerable either.
    return [q for q in every if q.answer or q.set in UNANSWERED]


def aside(question: Question) -> bool:
    """Whether the question's document is kept aside for checks and figures."""
    return kept_aside(f"{question.set.split('_')[0]}/{question.group}")


@dataclass(frozen=True)
class Shown:
    """A question as a model sees it."""

    question: Question
    passages: tuple[str, ...]
    answerable: bool

    @property
    def example(self) -> TrainingExample:
        answer = self.question.answer if self.answerable else NOT_FOUND
        return TrainingExample(QUOTE.prompt(self.question.task, self.passages), answer)


def show(
    question: Question,
    dice: random.Random,
    *,
    passages: int | None = None,
    gold: bool | None = None,
    longest: int | None = 90,
) -> Shown:
    """A question with its passage among distractors, in any order, or with distractors alone.

    Args:
        passages: How many; None draws 1 to 4.
        gold: Whether the answering passage is among them; None leaves it out of one prompt in five.
        longest: Passages are cut to about so many words (training is faster); None leaves them whole.
    """
    count = passages or dice.choices((1, 2, 3, 4), (0.45, 0.2, 0.27, 0.08))[0]
    answerable = bool(question.answer) and (dice.random() >= 0.2 if gold is None else gold)
    others = dice.sample(question.distractors, min(len(question.distractors), count - answerable))
    texts = [window(p, "", dice, longest) for p in others]
    if answerable:
        texts.append(window(question.passage, question.answer, dice, longest))
    dice.shuffle(texts)
    return Shown(question, tuple(texts), answerable)


def _question(row: Row, group: str, near: Sequence[str], everywhere: Sequence[str], stated: bool = True) -> Question:
    """Distractors are the passages nearest in words to the question that do not hold the answer.

    Args:
        stated: Whether the passage answers; if not, nothing does.
    """
    name = SETS.get(row["source"], "safety_bipia_email")
    asked = _terms(row["input"])
    pool = random.Random(row["id"]).sample(everywhere, min(200, len(everywhere)))
    usable = [p for p in pool if row["answer"].lower() not in p.lower() and p[:80] not in row["context"]]
    usable.sort(key=lambda p: -len(asked & _terms(p)) / (8 + len(_terms(p))) ** 0.5)
    distractors = [*(p for p in near if row["answer"].lower() not in p.lower()), *usable[:6], *usable[-6:]]
    answer = _verbatim(row["answer"], row["context"]) if stated else ""
    answers = tuple(row.get("answers") or [row["answer"]])
    return Question(name, group, row["input"], answer, row["context"], tuple(dict.fromkeys(distractors)), answers)


def _verbatim(answer: str, passage: str) -> str:
    """The answer as it stands in the passage; "30 days" also stands there as "thirty (30) days". Empty: nowhere."""
    flexible = r"\s+".join(re.escape(word) for word in answer.split())
    number = re.fullmatch(r"(?:successive )?(\d+) (\w+?)s?", answer)
    spelt = rf"[\w-]+ \({number[1]}\)[ -]{number[2]}s?" if number else "(?!)"
    match = re.search(flexible, passage) or re.search(flexible, passage, re.I) or re.search(spelt, passage, re.I)
    return match[0] if match else ""


def window(passage: str, answer: str, dice: random.Random, longest: int | None) -> str:
    """At most about `longest` words of the passage, with the answer inside."""
    words = list(re.finditer(r"\S+", passage))
    if longest is None or len(words) <= longest:
        return passage
    at = passage.find(answer) if answer else 0
    first = next((n for n, w in enumerate(words) if w.end() > at), 0)
    last = next((n for n, w in enumerate(words) if w.end() >= at + len(answer)), first)
    low, high = max(0, last + 1 - longest), min(first, len(words) - longest)
    start = dice.randint(low, high) if answer and low <= high else min(low, first) if answer else 0
    end = max(start + longest, last + 1)
    return passage[words[start].start() : words[min(end, len(words)) - 1].end()]


@functools.cache
def _terms(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]{3,}", text.lower()))


# Questions about rows of tables, made from public CSV files: whoever has only read prose loses its place in rows.

TABLES = ("route_assetops", "team_workbench")
"""Back-ends of the public sets whose tables may be redistributed."""

PER_TABLE = 24


ROWS = 9
"""Rows that are drawn for one question: one is asked about, some stand beside it, the others distract."""

LONGEST = 60
"""Characters of a cell; longer ones are prose."""

_FORWARD = (
    "What is the {column} of {key}?",
    "Which {column} does {key} have?",
    "What {column} is given for {key}?",
    "For {key}, what is the {column}?",
    "{column} of {key}?",
    "{key}: {column}?",
)

_BACKWARD = ("Which {key_column} has the {column} {value}?", "What is the {key_column} with {column} {value}?")


Table = list[dict[str, str]]
"""Rows: column to cell."""


def tables(folder: Path, sets: Sequence[str] = TABLES) -> Iterator[Question]:
    """Questions on cells: the column of a row, or the row of a cell. Split by table."""
    for name in sets:
        for file in sorted((folder / "backends" / name).glob("*.csv")):
            table, dice = _read(file), random.Random(file.name)
            if len(table) >= ROWS:
                made = (_table_question(f"{name}/{file.stem}", table, dice) for _ in range(PER_TABLE))
                yield from (question for question in made if question)


def _read(file: Path) -> Table:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        {column.replace("_", " "): value for column, value in row.items() if column and 0 < len(value or "") <= LONGEST}
        for row in rows
    ]


def _table_question(group: str, table: Table, dice: random.Random) -> Question | None:
    """None when the rows drawn do not make a question with one answer."""
    rows = dice.sample(table, ROWS)
    columns = sorted(rows[0])
    keys = [c for c in columns if len({row.get(c) for row in rows}) == ROWS and "0." not in rows[0][c]]
    if not keys or len(columns) < 2:
        return None
    key = dice.choice(keys)
    column = dice.choice([c for c in columns if c != key])
    shown = {key, column, *dice.sample(columns, min(len(columns), dice.randint(1, 4)))}
    asked, value = rows[0], rows[0][column]
    back = dice.random() < 0.3 and sum(row.get(column) == value for row in rows) == 1
    form = dice.choice(_BACKWARD if back else _FORWARD)
    task = form.format(key_column=key, key=asked[key], column=column, value=value)
    lines = ["; ".join(f"{c}: {v}" for c, v in row.items() if c in shown) for row in rows]
    beside = dice.randint(0, 2)
    passage = lines[: 1 + beside]
    dice.shuffle(passage)
    rest = lines[1 + beside :]
    distractors = tuple("\n".join(rest[n : n + 2]) for n in range(0, len(rest), 2))
    return Question("tables", group, task, asked[key] if back else value, "\n".join(passage), distractors)


# The lesson, and the skill.

MOST_ALIKE = 90
"""So many rows of one wording are enough ("Which law governs this agreement?" stands in 336)."""

CHECKED = 60
"""Kept-aside prompts whose loss is measured for early stopping."""


def lesson(folder: Path, sets: Sequence[str], seed: int, rounds: int) -> Lesson:
    """Questions with passages. Documents that were kept aside are left for checks and figures."""
    prose = questions(folder, [name for name in sets if name in SOURCES])
    both = [*prose, *tables(folder, [name for name in sets if name in TABLES])]
    rows = examples([q for q in both if not aside(q)], seed, rounds)
    checks = examples([q for q in both if aside(q)], seed, 1)
    random.Random(seed).shuffle(checks)
    return Lesson(rows, checks[:CHECKED])


def examples(asked: Sequence[Question], seed: int, rounds: int) -> list[TrainingExample]:
    """Prompts for training: each question `rounds` times, every time among other passages."""
    dice = random.Random(seed)
    mixed, times, kept = list(asked), Counter[str](), list[Question]()
    dice.shuffle(mixed)
    for question in mixed:
        times[question.task] += 1
        if times[question.task] <= MOST_ALIKE:
            kept.append(question)
    return [show(q, dice).example for _ in range(rounds) for q in kept]


SKILL = Skill(
    name="quote",
    title="answer with the passage's words, or say that it is not there",
    prompt="The prompt is made by metier's renderer (`style: quote`); at inference a grammar keeps the answer to "
    'words of the passages or "not found".',
    preparation="Rows were selected, passages cut to about 90 words around the answer and mixed with passages that "
    "look alike; in a fifth of the prompts the answering passage was left out. Questions on tables were made from "
    "their rows and columns. 15 % of the documents and tables were kept aside by a hash of their name.",
    limits="English only. It copies; it does not compute, compare or rephrase. It was trained on five sets of four "
    "fields and on rows of tables.",
    tags=("extractive-qa", "abstention"),
    sources={
        "finance_tatqa_span": Source("TAT-QA (Zhu et al., ACL 2021)", "CC BY 4.0"),
        "agri_agxqa": Source("AgXQA (Kpodo et al., Computers and Electronics in Agriculture 2024)", "Apache-2.0"),
        "law_cuad_qa": Source("CUAD (Hendrycks et al., NeurIPS Datasets and Benchmarks 2021)", "CC BY 4.0"),
        "safety_bipia_email": Source("BIPIA (Yi et al., KDD 2025)", "MIT"),
        "grounded_mtragun": Source("MTRAG (Katsis et al., TACL 2025)", "Apache-2.0"),
        "route_assetops": Source("AssetOpsBench, its tables (Patel et al., 2025)", "Apache-2.0"),
        "team_workbench": Source("WorkBench, its tables (Styles et al., COLM 2024)", "MIT"),
    },
    lessons=lesson,
)


if __name__ == "__main__":
    main(SKILL)
