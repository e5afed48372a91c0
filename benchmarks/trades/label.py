"""One of the labels: `accuracy`, any of the right ones counts.

Beside the model: `metier head`, the encoder head fitted to the set; where questions have choices of their own, which no
head can know, `option prior`: how often each choice was right in the set.
"""

from __future__ import annotations

import random
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence

from harness import Report, progress, sample

from metier.benchmarks.skills.label import SOURCES, Labelled, aside, labelled
from metier.benchmarks.skills.label import lessons as prompts
from metier.core.onnx_embedder import load_embedder
from metier.specialists.engines.engine import OneOf
from metier.specialists.prompt import TrainingExample
from metier.specialists.styles.label.classifier import LabelClassifier
from metier.specialists.styles.label.classifier import Labelled as Seen
from metier.specialists.styles.label.style import LABEL, listed_labels
from trades.trade import System, same

SKILL = "label"
SETS = ("law_cuad_clause", "industrial_fsiq", "health_pubmedqa", "intent_banking77")


def rows(args: Namespace, name: str) -> list[Labelled]:
    """Texts with the labels that are learnt from; those that a shared list does not hold cannot be answered right."""
    found = labelled(args.data, name)
    if same(args):
        found = [one for one in found if _kept(one, name)]
    return sample(found, args.limit, args.seed)


def lessons(args: Namespace, name: str) -> list[TrainingExample]:
    found = _learnt(args, name)
    return prompts(found, min(len(found), 2 * SOURCES[name][0]), random.Random(args.seed))


def score(report: Report, args: Namespace, name: str, system: System, asked: Sequence[Labelled]) -> None:
    known = sorted({answer for one in labelled(args.train, name) for answer in one.answers})
    chat = system.engine.chat(adapter=system.adapter, slot=system.name)
    right: list[bool] = []
    for one in progress(asked, f"{name} · {system.name}"):
        options = one.choices or known
        messages = LABEL.prompt(one.text, system=listed_labels(options))
        rule = system.engine.constrain(OneOf(options))
        said = chat.invoke([(m["role"], m["content"]) for m in messages], **rule).text
        right.append(said in one.answers)
    report.add(name, system.name, "accuracy", right)


def others(report: Report, args: Namespace, name: str, asked: Sequence[Labelled]) -> None:
    """The encoder head; how often choices were right, where every question has its own."""
    learnt = _learnt(args, name)
    if len({one.choices for one in learnt}) > 1:
        often = _often(learnt)
        report.add(name, "option prior", "accuracy", [max(one.choices, key=often) in one.answers for one in asked])
        return
    embedder = load_embedder("minilm")
    head = LabelClassifier.fit([Seen(one.text, one.answers) for one in learnt], embedder)
    chances = head.probabilities([one.text for one in asked], embedder)
    right = [max(c, key=c.__getitem__) in one.answers for one, c in zip(asked, chances, strict=True)]
    report.add(name, "metier head", "accuracy", right)


def _often(learnt: Sequence[Labelled]) -> Callable[[str], float]:
    """How often a choice was right where it was offered."""
    offered = Counter(choice for one in learnt for choice in one.choices)
    right = Counter(answer for one in learnt for answer in one.answers)
    return lambda choice: right[choice] / max(1, offered[choice])


def _learnt(args: Namespace, name: str) -> list[Labelled]:
    return [one for one in labelled(args.train, name) if not (same(args) and _kept(one, name))]


def _kept(one: Labelled, name: str) -> bool:
    """Whether the text is scored. Intents are no unseen ones here: their texts are split, not their labels."""
    return sum(map(ord, one.text)) % 7 == 0 if name == "intent_banking77" else aside(one)
