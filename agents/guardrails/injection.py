"""Does a text try to take over the model? Trained heads do the work, six rules what a program can tell surely.

Filters can be fooled; what an attack may do is bounded by `tools/policy.py`, which does not read text at all.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from functools import cache
from typing import Literal

from ...core.embedding import Embedder
from .classifier import NgramClassifier
from .guard import HEADS, Check, GuardContext, Verdict, passed, redacted, refused

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/]{20,}={0,2}(?![A-Za-z0-9+/=])")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{2}[ ]?){12,}(?![0-9A-Za-z])")
_BINARY = re.compile(r"(?:[01]{8}\s*){6,}")
_READABLE = re.compile(r"(?:[A-Za-z]{2,}\W+){2,}[A-Za-z]{2,}")
_MOST_RUNS = 20
"""Runs looked at in one text: a file full of keys must not cost seconds."""


def hidden_texts(text: str) -> Iterator[str]:
    """Each run of code in the text that turns out to be words."""
    for pattern, decode in ((_BASE64, _base64), (_HEX, _hex), (_BINARY, _binary)):
        for count, run in enumerate(pattern.finditer(text)):
            if count >= _MOST_RUNS:
                break
            text_in_code = decode(run[0])
            if _READABLE.search(text_in_code):
                yield text_in_code


def _base64(run: str) -> str:
    body = run.rstrip("=")
    try:
        return _ascii(base64.b64decode(body + "=" * (-len(body) % 4), validate=True))
    except (binascii.Error, ValueError):
        return ""


def _hex(run: str) -> str:
    digits = run.replace(" ", "")
    return _ascii(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _binary(run: str) -> str:
    digits = "".join(run.split())
    return _ascii(bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits) // 8 * 8, 8)))


def _ascii(data: bytes) -> str:
    """The text, or nothing when it is not plain printable text."""
    text = data.decode("ascii", errors="replace")
    return text if sum(c.isprintable() or c.isspace() for c in text) > 0.9 * len(text) and "\ufffd" not in text else ""


_ORDERS = r"(?:instructions?|prompts?|rules|guidelines|directions?|directives?|orders|commands|restrictions)"


_RULES: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "holds control tokens": (
            r"<\|(?:im_start|im_end|endoftext|system|user|assistant|eot_id)\|>|\[/?INST\]|<</?SYS>>"
        ),
        "sets the instructions aside": (
            r"\b(?:ignore|disregard|forget|override)\s+(?:(?:all|any|every|of|the|your|my|these|those)\s+){0,3}"
            rf"(?:previous|prior|above|earlier|preceding|system|original|initial)\s+(?:\w+\s+)?{_ORDERS}\b"
        ),
        "asks for the hidden prompt": (
            r"\b(?:reveal|show|print|repeat|output|tell|leak|what (?:is|are|was|were))\s+(?:\w+\s+){0,3}?"
            rf"(?:system prompt|(?:hidden|initial|original|system|your) {_ORDERS})\b"
        ),
    }.items()
}


_WORDING = ("sets the instructions aside", "asks for the hidden prompt")
"""Rules that go by words alone. Texts about security quote such words: quoted they order nothing."""
_MARKS = re.compile(r"“[^”]*”|‘[^’]*’|„[^“]*“|«[^»]*»|\"[^\"]*\"|`[^`]*`|(?<!\w)'[^']*'(?!\w)")


_SHOTS = re.compile(
    r"(?:^|\s)(?:Q|Question|User|Human)\s?\d*:.{1,300}?\s(?:A|Answer|Assistant|AI|Bot)\s?\d*:", re.DOTALL
)


_REPEATED = re.compile(r"(\b\w[\w'-]{0,20}\W{1,3})\1{14,}")


def broken_rule(text: str, *, wording: bool = True) -> str | None:
    """What a task or a document does that it should not; None when no rule matches.

    Args:
        wording: Rules that go by words alone count too.
    """
    for name, rule in _RULES.items():
        if (wording or name not in _WORDING) and rule.search(text):
            return name
    if _REPEATED.search(text):
        return "repeats itself to wear the model down"
    return "hides text in a code" if any(True for _ in hidden_texts(text)) else None


def brings_dialogue(text: str) -> str | None:
    """Three or more made-up questions with answers, as many-shot attacks have. Not for documents: FAQs are harmless."""
    return "brings its own dialogue" if text.count(":") > 5 and len(_SHOTS.findall(text)) >= 3 else None


HeadName = Literal["injection", "orders", "errands"]
"""Tasks that are attacks; sentences of documents that order an assistant about; the same in messages, where a task or a
question of general knowledge is an order too."""
LEFT_OUT = "[left out: it gives orders]"


@cache
def injection_head(name: HeadName) -> NgramClassifier:
    """A head that comes with metier."""
    return NgramClassifier.load(HEADS / f"{name}.safetensors")


_FEWEST_WORDS = 3
"""Headings, labels and table cells of one or two words order nobody about."""
_BREAK = re.compile(r"(?<=[.!?;:])\s+|\n+|\||<[^>]{1,80}>")
"""Finer than sentences: an order may hide behind a colon, in a table cell or between two tags."""
_ANY_WORD = re.compile(r"\w+")


def order_parts(text: str) -> Iterator[str]:
    """What of a document or message can hold an order: sentences, lines and table cells, without their edges, of three
    words or more or of a script without spaces. The shipped heads are fitted on just these."""
    for part in _BREAK.split(text):
        stripped = part.strip(" \t\r\n\"'“”‘’*-#>/")
        words = sum(1 for _ in _ANY_WORD.finditer(stripped))
        if words >= _FEWEST_WORDS or (stripped and len(stripped) > 12 * words):
            yield stripped


def attack_in(
    text: str, embedder: Embedder | None = None, head: NgramClassifier | None = None
) -> tuple[str | None, float]:
    """What a task does that it should not (None: nothing), and the head's probability that it is an attack."""
    score = (head or injection_head("injection")).score(text, embedder)
    broken = broken_rule(text) or brings_dialogue(text)
    return broken or ("reads like an attempt to take over" if score >= 0.5 else None), score


def orders_in(text: str, head: NgramClassifier, embedder: Embedder | None = None) -> Iterator[str]:
    """The sentences of a document or message that give orders to the assistant who reads it.

    A line is given whole where only the whole breaks a rule: control tokens fall apart into sentences.
    """
    lines = text.split("\n")
    parts = [part for line in lines for part in order_parts(line)]
    scores = dict(zip(parts, head.scores(parts, embedder), strict=True))

    def orders(part: str) -> bool:
        said = broken_rule(part, wording=False) or broken_rule(_MARKS.sub("", part))
        return scores[part] >= 0.5 or said is not None

    for line in lines:
        found = [part for part in order_parts(line) if orders(part)]
        yield from found or ([line.strip()] if broken_rule(line, wording=False) else [])


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
        orders = list(orders_in(text, injection_head("errands" if context.message else "orders"), embedder))
        if not orders:
            return passed(text)
        if not context.message:
            return refused(text, f"it gives orders to the assistant: '{orders[0][:80]}'")
        clean = text
        for order in orders:
            clean = clean.replace(order, LEFT_OUT)
        return redacted(clean, f"left out {len(orders)} sentence(s) that give orders: '{orders[0][:80]}'")

    return check
