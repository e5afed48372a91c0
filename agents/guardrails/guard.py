"""What a guardrail is: a function from a text to a verdict. Checks know nothing of the graph they run in.

Also here: what needs no training, the guard `length`, and a guard applied to the passages of documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from ...core.types import Citation, Passage, Value

HEADS = Path(__file__).parent / "heads"
"""What the guards were trained to know; made by `benchmarks/skills/guard_heads.py`."""

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


LONGEST_TEXT = 32_000
"""Characters, about 8,000 tokens: the largest budget of a run."""
_MOST_BROKEN = 0.05
"""Share of characters that cannot be text, above which the input counts as binary."""
_BROKEN = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd\ud800-\udfff]")
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters, direction overrides, zero-width spaces and tag characters, which hide text from people's eyes.
Joiners (U+200C, U+200D) stay: Persian, Hindi and emoji need them."""


def length(text: str, context: GuardContext) -> Verdict:
    """The guard: refuse what is empty, too long or binary; take out characters that nobody can see."""
    if not text.strip():
        return refused(text, "the text is empty")
    if len(text) > LONGEST_TEXT:
        return refused(text, f"the text has {len(text)} characters, at most {LONGEST_TEXT} are read")
    broken = len(_BROKEN.findall(text))
    if broken > _MOST_BROKEN * len(text):
        return refused(text, "this is not text")
    clean, removed = _INVISIBLE.subn("", text)
    if not removed:
        return passed(text)
    if not clean.strip():
        return refused(text, "the text is empty")
    return redacted(clean, f"removed {removed} invisible or control character{'s' if removed > 1 else ''}")


def sift(guard: Guard) -> Callable[[Sequence[Passage]], tuple[Sequence[Passage], dict[str, str]]]:
    """The guard of what a model is about to read, for passages: those that it may, and what was done about the others.

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
