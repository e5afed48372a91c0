"""Does a text try to take over the model? Rules for the known ways of saying so."""

from __future__ import annotations

import re

from .verdict import Check, GuardContext, Verdict, passed, refused

_OLD = r"(?:previous|prior|above|earlier|preceding|former|existing|original|system|your|these|those|all|any|the)"
_ORDERS = (
    r"(?:instructions?|prompts?|rules?|guidelines?|directions?|commands?|constraints?|programming|training|context)"
)
RULES: dict[str, re.Pattern[str]] = {
    "sets the instructions aside": re.compile(
        rf"\b(?:ignore|disregard|forget|override|overrule|bypass|drop|do not follow|don'?t follow|stop following)\b"
        rf"(?:\W+\w+){{0,3}}?\W+{_OLD}\b(?:\W+\w+){{0,4}}?\W+{_ORDERS}\b",
        re.IGNORECASE,
    ),
    "gives new instructions": re.compile(
        rf"\b(?:new|updated|real|actual|important)\s+(?:system\s+)?{_ORDERS}\s*(?:follow|are|:|from now)", re.IGNORECASE
    ),
    "asks for the hidden prompt": re.compile(
        r"\b(?:reveal|show|print|repeat|output|display|tell me|give me|what (?:is|are|was)|share|leak|dump)\b"
        r"(?:\W+\w+){0,4}?\W+(?:system|hidden|secret|initial|original|developer)\s+(?:prompts?|instructions?|messages?|rules)\b",
        re.IGNORECASE,
    ),
    "changes who the model is": re.compile(
        r"\b(?:you are now|from now on,? you (?:are|will)|pretend (?:to be|you are)|act as (?:an? )?(?:"
        r"unrestricted|unfiltered|evil|dan\b)|developer mode|jailbreak|do anything now|"
        r"no (?:longer bound|restrictions|filters?|special filtering))\b",
        re.IGNORECASE,
    ),
    "holds control tokens": re.compile(
        r"<\|(?:im_start|im_end|endoftext|system|user|assistant|eot_id)\|>|\[/?INST\]|<<SYS>>"
    ),
    "speaks as the system": re.compile(
        r"(?:^|\n)\s*(?:#+\s*)?(?:system|assistant)\s*(?:message|prompt)?\s*:\s", re.IGNORECASE
    ),
}


def injection() -> Check:
    """The guard: refuse a text that a rule matches."""

    def check(text: str, context: GuardContext) -> Verdict:
        for name, rule in RULES.items():
            if rule.search(text):
                return refused(text, f"it {name}", score=1.0)
        return passed(text)

    return check
