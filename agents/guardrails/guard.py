"""What a guardrail is: a function from a text to a verdict. Checks know nothing of the graph they run in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from ...core.types import Citation, Passage, Value

Side = Literal["in", "between", "out"]
"""Before the team sees a task; between a tool or document and the model; after the answer."""


class GuardContext(Value):
    """What a guard may know besides the text."""

    side: Side = "in"
    question: str = ""
    """The task, when an answer is checked."""
    citations: tuple[Citation, ...] = ()
    """The sources of the answer that is checked."""
    message: bool = False
    """Between: the text is a mail or a tool's result that strangers may have written, not a document."""


class Verdict(Value):
    """`pass`: go on. `redact`: go on with the changed `text`. `refuse`: stop here."""

    action: Literal["pass", "redact", "refuse"]
    text: str
    reason: str = ""
    """One sentence for people."""
    acted: dict[str, str] = Field(default_factory=dict)
    """Guards that did something: name to what they did. Empty when all passed."""
    score: float | None = None
    """What a trained guard computed, between 0 and 1."""

    @property
    def refusal(self) -> str | None:
        """The sentence that the user reads when the turn ends here; None when it goes on."""
        return f"I cannot work on this: {self.reason}." if self.action == "refuse" else None


Check = Callable[[str, GuardContext], Verdict]
"""One guardrail: small, composable, without state."""


def passed(text: str, score: float | None = None) -> Verdict:
    """Nothing to object to."""
    return Verdict(action="pass", text=text, score=score)


def redacted(text: str, reason: str) -> Verdict:
    """Go on with a changed text."""
    return Verdict(action="redact", text=text, reason=reason)


def refused(text: str, reason: str, score: float | None = None) -> Verdict:
    """Stop."""
    return Verdict(action="refuse", text=text, reason=reason, score=score)


@dataclass(frozen=True)
class Guard:
    """Several checks as one, in order: each sees what the one before left, and the first refusal ends it."""

    side: Side
    checks: dict[str, Check]

    def __call__(
        self, text: str, *, question: str = "", citations: Sequence[Citation] = (), message: bool = False
    ) -> Verdict:
        """Run all checks.

        Args:
            text: the task, the document or the answer, as the side says.
            question: the task, when an answer is checked.
            citations: the sources of an answer.
            message: a text in between is a mail or a tool's result, not a document.
        """
        context = GuardContext(side=self.side, question=question, citations=tuple(citations), message=message)
        current, acted = text, {}
        for name, check in self.checks.items():
            verdict = check(current, context)
            if verdict.action != "pass":
                acted[name] = f"{verdict.action}: {verdict.reason}"
            if verdict.refusal:
                return verdict.model_copy(update={"acted": acted})
            current = verdict.text
        if not acted:
            return passed(current)
        return Verdict(action="redact", text=current, reason="; ".join(acted.values()), acted=acted)


# Is it text at all, and of a size that can be worked on? Invisible and control characters are taken out.


MAX_CHARACTERS = 32_000
"""About 8,000 tokens: the largest budget of a run."""


MAX_BROKEN = 0.05
"""Share of characters that cannot be text, above which the input counts as binary."""


_BROKEN = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd\ud800-\udfff]")


_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters, direction overrides, zero-width spaces and tag characters, which hide text from people's eyes.
Joiners (U+200C, U+200D) stay: Persian, Hindi and emoji need them."""


def length(text: str, context: GuardContext) -> Verdict:
    """Refuse what is empty, too long or binary; take out characters that nobody can see."""
    if not text.strip():
        return refused(text, "the text is empty")
    if len(text) > MAX_CHARACTERS:
        return refused(text, f"the text has {len(text)} characters, at most {MAX_CHARACTERS} are read")
    broken = len(_BROKEN.findall(text))
    if broken > MAX_BROKEN * len(text):
        return refused(text, "this is not text")
    clean, removed = _INVISIBLE.subn("", text)
    if not removed:
        return passed(text)
    if not clean.strip():
        return refused(text, "the text is empty")
    return redacted(clean, f"removed {removed} invisible or control character{'s' if removed > 1 else ''}")


# The guard of what a model is about to read, for the passages of documents.


def sift(guard: Guard) -> Callable[[Sequence[Passage]], tuple[Sequence[Passage], dict[str, str]]]:
    """A function from passages to those that may be read, and what the guards did about the others.

    A passage that a guard would change is left out too: citations must stand in the document word for word.
    """

    def look(passages: Sequence[Passage]) -> tuple[Sequence[Passage], dict[str, str]]:
        kept: list[Passage] = []
        acted: dict[str, str] = {}
        for passage in passages:
            verdict = guard(passage.text)
            if verdict.action == "pass":
                kept.append(passage)
            for name, did in verdict.acted.items():
                told = f"left out a passage of {passage.source} ({did})"
                acted[name] = f"{acted[name]}; {told}" if name in acted else told
        return kept, acted

    return look


# A document or message in pieces that can hold an order.


LEAST_WORDS = 3
"""Headings, labels and table cells of one or two words order nobody about."""


_BREAK = re.compile(r"(?<=[.!?;:])\s+|\n+|\||<[^>]{1,80}>")


_WORD = re.compile(r"\w+")


def sentences(text: str) -> Iterator[str]:
    """Sentences, lines and table cells of three words or more, or of a script without spaces, without their edges."""
    for part in _BREAK.split(text):
        stripped = part.strip(" \t\r\n\"'“”‘’*-#>/")
        words = sum(1 for _ in _WORD.finditer(stripped))
        if words >= LEAST_WORDS or (stripped and len(stripped) > 12 * words):
            yield stripped
