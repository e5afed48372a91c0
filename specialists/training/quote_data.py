"""Questions whose answers stand in a passage, from public sets: what the skill `quote` learns from.

Only sets that may be redistributed are read. Rows are split by document (or contract), never within one.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..renderer import NOT_FOUND, render
from .example import TrainingExample
from .sets import Row, kept_aside, read_rows


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
        found = row["answer"] in row["context"]
        context = f"{row['context']}\n{row['attack']}" if number % 2 else row["context"]
        task = re.sub(r"^Q:\s*", "", row["input"])
        yield _question({**row, "input": task, "context": context}, row["id"], [], everywhere, found)


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
    found = [q for name in sets for q in SOURCES[name][1](folder)]
    # Some gold answers are not in the passage's words ("Yes"): nothing to quote, yet not unanswerable either.
    return [q for q in found if q.answer or q.set in UNANSWERED]


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
        return TrainingExample(render("quote", self.question.task, self.passages), answer)


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
    texts = [_window(p, "", dice, longest) for p in others]
    if answerable:
        texts.append(_window(question.passage, question.answer, dice, longest))
    dice.shuffle(texts)
    return Shown(question, tuple(texts), answerable)


def _question(
    row: Row, group: str, near: Sequence[str], everywhere: Sequence[str], found: bool | None = None
) -> Question:
    """Distractors are the passages nearest in words to the question that do not hold the answer."""
    name = SETS.get(row["source"], "safety_bipia_email")
    asked = _terms(row["input"])
    pool = random.Random(row["id"]).sample(everywhere, min(200, len(everywhere)))
    usable = [p for p in pool if row["answer"].lower() not in p.lower() and p[:80] not in row["context"]]
    usable.sort(key=lambda p: -len(asked & _terms(p)) / (8 + len(_terms(p))) ** 0.5)
    distractors = [*(p for p in near if row["answer"].lower() not in p.lower()), *usable[:6], *usable[-6:]]
    answer = _verbatim(row["answer"], row["context"]) if found is not False else ""
    answers = tuple(row.get("answers") or [row["answer"]])
    return Question(name, group, row["input"], answer, row["context"], tuple(dict.fromkeys(distractors)), answers)


def _verbatim(answer: str, passage: str) -> str:
    """The answer as it stands in the passage; "30 days" also stands there as "thirty (30) days". Empty: nowhere."""
    flexible = r"\s+".join(re.escape(word) for word in answer.split())
    number = re.fullmatch(r"(?:successive )?(\d+) (\w+?)s?", answer)
    spelt = rf"[\w-]+ \({number[1]}\)[ -]{number[2]}s?" if number else "(?!)"
    match = re.search(flexible, passage) or re.search(flexible, passage, re.I) or re.search(spelt, passage, re.I)
    return match[0] if match else ""


def _window(passage: str, answer: str, dice: random.Random, longest: int | None) -> str:
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
