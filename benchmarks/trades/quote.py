"""Answers in a passage's words. `em` and `f1` with the passage given; `…, 3 passages`: among three, in any order, of
which the right one is missing in a third of the cases."""

from __future__ import annotations

import random
from argparse import Namespace
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from harness import Report, progress, sample

from metier.benchmarks.skills.quote import Question, Shown, aside, questions, show
from metier.core.metrics import exact_match, token_f1
from metier.specialists.engines import Sampling
from metier.specialists.engines.engine import Quote
from metier.specialists.prompt import NOT_FOUND, TrainingExample
from metier.specialists.styles.quote import QUOTE
from trades.trade import System, same

SKILL = "quote"
SETS = ("finance_tatqa_span", "agri_agxqa", "law_cuad_qa")


class Reply(NamedTuple):
    shown: Shown
    text: str

    @property
    def abstained(self) -> bool:
        return self.text.strip() == NOT_FOUND


def rows(args: Namespace, name: str) -> list[Question]:
    """Questions of the set whose answer stands in the passage."""
    found = [q for q in questions(args.data, [name]) if q.answer]
    kept = [q for q in found if aside(q)] if same(args) and not args.all else found
    return sample(kept, args.limit, args.seed)


def lessons(args: Namespace, name: str) -> list[TrainingExample]:
    found = [q for q in questions(args.train, [name]) if q.answer and not (same(args) and aside(q))]
    dice = random.Random(args.seed)
    dice.shuffle(found)
    return [show(q, dice, longest=None).example for _ in range(2) for q in found]


def score(report: Report, args: Namespace, name: str, system: System, asked: Sequence[Question]) -> None:
    """Answers where there is one; abstention over all cases. An abstention counts as a wrong answer."""
    dice = random.Random(args.seed)
    given = [show(q, dice, passages=1, gold=True, longest=None) for q in asked]
    _add(report, name, system.name, _ask(system, given, name))
    three = [show(q, dice, passages=3, gold=number % 3 != 2, longest=None) for number, q in enumerate(asked)]
    _add(report, name, f"{system.name}, 3 passages", _ask(system, three, name))


def others(report: Report, args: Namespace, name: str, asked: Sequence[Question]) -> None:
    """None."""


def _ask(system: System, shown: list[Shown], name: str) -> list[Reply]:
    chat = system.engine.chat(Sampling(max_tokens=96), adapter=system.adapter, slot=system.name)
    replies: list[Reply] = []
    for one in progress(shown, f"{name} · {system.name}"):
        rule = system.engine.constrain(Quote(texts=one.passages, alternatives=[NOT_FOUND]))
        messages = QUOTE.prompt(one.question.task, one.passages)
        replies.append(Reply(one, str(chat.invoke([(m["role"], m["content"]) for m in messages], **rule).text)))
    return replies


def _add(report: Report, name: str, system: str, replies: list[Reply]) -> None:
    answerable = [r for r in replies if r.shown.answerable]
    report.add(name, system, "em", [exact_match(r.text, r.shown.question.answers) for r in answerable])
    report.add(name, system, "f1", [token_f1(r.text, r.shown.question.answers) for r in answerable])
    if len(answerable) == len(replies):
        return
    pairs = np.array([[r.abstained, not r.shown.answerable] for r in replies], dtype=float)
    report.add(name, system, "abstain_precision", pairs, lambda p: _ratio(p[:, 0] * p[:, 1], p[:, 0]))
    report.add(name, system, "abstain_recall", pairs, lambda p: _ratio(p[:, 0] * p[:, 1], p[:, 1]))


def _ratio(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.sum() else 0.0
