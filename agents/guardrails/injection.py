"""Does a text try to take over the model? Rules for the known ways, and a trained head for those nobody listed.

Filters can be fooled; what an attack may do is bounded by `tools/policy.py`, which does not read text at all.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from .decode import hidden_texts
from .linear import LinearText
from .orders import order_in, sentences
from .rules import brings_dialogue, broken_rule
from .verdict import Check, GuardContext, Verdict, passed, redacted, refused

HEAD = Path(__file__).parent / "heads" / "injection.safetensors"
LEFT_OUT = "[left out: it gives orders]"


@lru_cache(maxsize=1)
def shipped() -> LinearText:
    """The head that comes with metier."""
    return LinearText.load(HEAD)


def attack_in(text: str, head: LinearText | None = None) -> tuple[str | None, float]:
    """What a task does that it should not (None: nothing), and the head's probability that it is an attack."""
    score = (head or shipped()).score(text)
    broken = broken_rule(text) or brings_dialogue(text)
    if not broken and any(True for _ in hidden_texts(text)):
        broken = "hides text in a code"
    return broken or ("reads like an attempt to take over" if score >= 0.5 else None), score


def injection_in() -> Check:
    """The guard for tasks: refuse an attack."""

    def check(text: str, context: GuardContext) -> Verdict:
        broken, score = attack_in(text)
        return refused(text, f"it {broken}", score) if broken else passed(text, score)

    return check


def injection_between() -> Check:
    """The guard for what a model is about to read: take out sentences that give it orders.

    Messages (mails, tool results) lose quiz questions and orders for texts too; documents, which may well be made of
    questions and instructions, only lose what plainly addresses a model.
    """

    def check(text: str, context: GuardContext) -> Verdict:
        orders = [s for s in sentences(text) if order_to_model(s, message=context.message)]
        if not orders:
            return passed(text)
        clean = text
        for order in orders:
            clean = clean.replace(order, LEFT_OUT)
        return redacted(clean, f"left out {len(orders)} sentence(s) that give orders: '{orders[0][:80]}'")

    return check


def order_to_model(sentence: str, *, message: bool) -> str | None:
    """What a sentence in a message or document tells the model to do; None when it does not."""
    broken = broken_rule(sentence) or order_in(sentence, strict=message)
    if not broken and any(True for _ in hidden_texts(sentence)):
        broken = "hides text in a code"
    return broken
