"""What a program tells surely: six short rules beside the trained head. Each says what the text does, for people.

A rule stays only while leaving it out costs recall on attack variants that the head was not fitted on, or while it
finds what no head can read (docs/log.md).
"""

from __future__ import annotations

import re

from .decode import hidden_texts

_ORDERS = r"(?:instructions?|prompts?|rules|guidelines|directions?|directives?|orders|commands|restrictions)"

RULES: dict[str, re.Pattern[str]] = {
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
_SHOTS = re.compile(
    r"(?:^|\s)(?:Q|Question|User|Human)\s?\d*:.{1,300}?\s(?:A|Answer|Assistant|AI|Bot)\s?\d*:", re.DOTALL
)
_REPEATED = re.compile(r"(\b\w[\w'-]{0,20}\W{1,3})\1{14,}")


def broken_rule(text: str) -> str | None:
    """What a task or a document does that it should not; None when no rule matches."""
    for name, rule in RULES.items():
        if rule.search(text):
            return name
    if _REPEATED.search(text):
        return "repeats itself to wear the model down"
    return "hides text in a code" if any(True for _ in hidden_texts(text)) else None


def brings_dialogue(text: str) -> str | None:
    """Three or more made-up questions with answers, as many-shot attacks have. Not for documents: FAQs are harmless."""
    return "brings its own dialogue" if text.count(":") > 5 and len(_SHOTS.findall(text)) >= 3 else None
