"""What specialists gain from being trained: the untrained base against the shipped skills.

`python benchmarks/specialists.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR] [--skill PATH]`

Each question is asked with its passage (`em`, `f1`), and with three passages in any order of which the right one is
missing in a third of the cases (system names end in `, 3 passages`; `found_*` count how it tells these cases apart).
Both systems use the same prompts, engine and grammar. Where DATA is the training folder, only documents are scored
that the skill never saw.
"""

from __future__ import annotations

import random
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from harness import Report, parser, progress, wanted

from metier.core.models import ModelStore
from metier.specialists.constraint import Quote
from metier.specialists.engines.llama import LlamaEngine
from metier.specialists.metrics import exact_match, token_f1
from metier.specialists.renderer import NOT_FOUND, render
from metier.specialists.skills import find_skill
from metier.specialists.training.convert import gguf_adapter
from metier.specialists.training.quote_data import Question, Shown, aside, questions, show

SETS = ("finance_tatqa_span", "agri_agxqa", "law_cuad_qa")


class Reply(NamedTuple):
    shown: Shown
    text: str

    @property
    def abstained(self) -> bool:
        return self.text.strip() == NOT_FOUND


def ask(engine: LlamaEngine, adapter: str | None, shown: list[Shown], title: str) -> list[Reply]:
    """What the base, with or without an adapter, answers under the grammar of the style `quote`."""
    chat = engine.chat(adapter=adapter, slot=adapter or "base", max_tokens=96)
    replies: list[Reply] = []
    for one in progress(shown, title):
        rule = engine.constrain(Quote(texts=one.passages, alternatives=[NOT_FOUND]))
        messages = render("quote", one.question.task, one.passages)
        replies.append(Reply(one, str(chat.invoke([(m["role"], m["content"]) for m in messages], **rule).text)))
    return replies


def given(asked: list[Question], seed: int) -> list[Shown]:
    """The right passage alone, whole."""
    dice = random.Random(seed)
    return [show(q, dice, passages=1, gold=True, longest=None) for q in asked]


def among_three(asked: list[Question], seed: int) -> list[Shown]:
    """Three passages, whole; the right one is missing in a third of the cases."""
    dice = random.Random(seed)
    return [show(q, dice, passages=3, gold=number % 3 != 2, longest=None) for number, q in enumerate(asked)]


def score(report: Report, name: str, system: str, replies: list[Reply]) -> None:
    """Answers where there is one; abstention over all cases. An abstention counts as a wrong answer."""
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


def asked_of(args: Namespace, name: str) -> list[Question]:
    """Questions of the set whose answer stands in the passage; unseen documents only."""
    found = [q for q in questions(args.data, [name]) if q.answer]
    if args.data.resolve() == args.train.resolve() and not args.all:
        found = [q for q in found if aside(q)]
    if args.limit and len(found) > args.limit:
        found = random.Random(args.seed).sample(found, args.limit)
    return found


def systems(args: Namespace) -> Iterator[tuple[str, str | None]]:
    yield "base", None
    yield "metier quote", "quote"


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--skill", type=Path, help="another PEFT folder in place of the shipped skill")
    arguments.add_argument("--all", action="store_true", help="score seen documents too (for a set that was left out)")
    args = arguments.parse_args()
    gguf = ModelStore().find("smollm2-135m").files["gguf"]
    adapter = gguf_adapter(args.skill or find_skill("quote"), gguf)
    engine = LlamaEngine(gguf, {"quote": adapter}, slots=2)
    report = Report(args)
    for name in wanted(args, SETS):
        asked = asked_of(args, name)
        for system, lora in systems(args):
            score(report, name, system, ask(engine, lora, given(asked, args.seed), f"{name} · {system}"))
            replies = ask(engine, lora, among_three(asked, args.seed), f"{name} · {system}, 3 passages")
            score(report, name, f"{system}, 3 passages", replies)
    engine.close()
    report.finish()


if __name__ == "__main__":
    main()
