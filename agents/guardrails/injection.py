"""Does a text try to take over the model? Trained heads do the work, six rules what a program can tell surely.

Filters can be fooled; what an attack may do is bounded by `tools/policy.py`, which does not read text at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ...core.embedding import Embedder
from .linear import Head
from .rules import brings_dialogue, broken_rule
from .sentences import sentences
from .verdict import Check, GuardContext, Verdict, passed, redacted, refused

HEADS = Path(__file__).parent / "heads"
HeadName = Literal["injection", "orders", "errands"]
"""Tasks that are attacks; sentences of documents that order an assistant about; the same in messages, where a task or a
question of general knowledge is an order too."""
LEFT_OUT = "[left out: it gives orders]"


@lru_cache(maxsize=3)
def shipped(name: HeadName) -> Head:
    """A head that comes with metier."""
    return Head.load(HEADS / f"{name}.safetensors")


def attack_in(text: str, embedder: Embedder | None = None, head: Head | None = None) -> tuple[str | None, float]:
    """What a task does that it should not (None: nothing), and the head's probability that it is an attack."""
    score = (head or shipped("injection")).score(text, embedder)
    broken = broken_rule(text) or brings_dialogue(text)
    return broken or ("reads like an attempt to take over" if score >= 0.5 else None), score


def orders_in(text: str, head: Head, embedder: Embedder | None = None) -> Iterator[str]:
    """The sentences of a document or message that give orders to the assistant who reads it.

    A line is given whole where only the whole breaks a rule: control tokens fall apart into sentences.
    """
    for line in text.split("\n"):
        found = [s for s in sentences(line) if broken_rule(s) or head.score(s, embedder) >= 0.5]
        yield from found or ([line.strip()] if broken_rule(line) else [])


def injection_in(embedder: Embedder | None = None) -> Check:
    """The guard for tasks: refuse an attack."""

    def check(text: str, context: GuardContext) -> Verdict:
        broken, score = attack_in(text, embedder)
        return refused(text, f"it {broken}", score) if broken else passed(text, score)

    return check


def injection_between(embedder: Embedder | None = None) -> Check:
    """The guard for what a model is about to read.

    A passage of a document that gives orders is refused as a whole: what stands around an attack is not to be quoted
    either. A message (a mail, a tool's result) only loses the sentences, since there is no other to take its place.
    """

    def check(text: str, context: GuardContext) -> Verdict:
        orders = list(orders_in(text, shipped("errands" if context.message else "orders"), embedder))
        if not orders:
            return passed(text)
        if not context.message:
            return refused(text, f"it gives orders to the assistant: '{orders[0][:80]}'")
        clean = text
        for order in orders:
            clean = clean.replace(order, LEFT_OUT)
        return redacted(clean, f"left out {len(orders)} sentence(s) that give orders: '{orders[0][:80]}'")

    return check
