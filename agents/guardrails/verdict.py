"""What a guardrail is: a function from a text to a verdict. Checks know nothing of the graph they run in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from ...core.types import Citation, Value

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
