"""One answer out of several: it reads as one, keeps every citation, and says which part nobody could answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..core.language import say, says
from ..core.types import Answer, Brief, Route, Usage

_ASKS = re.compile(
    r"(?:who|whose|whom|what|which|when|where|why|how|is|are|was|were|do|does|did|can|could|may|must|should|has|have|will|"
    r"would|wer|was|wann|wo|wie|warum|welche\w*)\b",
    re.IGNORECASE,
)
_ENDED = re.compile(r"[.!?:;…]['\"”»)\]]*$")


def compose(route: Route, answers: Sequence[Answer], task: str = "") -> Answer:
    """One answer out of several: a single one passes through, or the surest of those to the same task; others stand
    under each other, a bare value behind what was asked, with what nobody could answer at the end.

    Args:
        route: How the task was split.
        answers: One a part, in the order of the parts; empty when the router chose nobody.
        task: What was asked, in whose language it is told that nobody was chosen.
    """
    if not answers:
        return _nobody(route, task)
    if len(answers) == 1 or route.decision == "surest":
        surest = max(answers, key=lambda answer: (answer.kind != "abstain", answer.confidence))
        return surest.model_copy(update={"route": route})
    good = [answer for answer in answers if answer.kind == "answer"]
    data = [answer.data for answer in answers]
    return Answer(
        text=composed([part.text for part in route.parts], answers),
        kind="answer" if good else "abstain",
        specialist=_listed(answers, "specialist"),
        version=_listed(answers, "version"),
        citations=_flat(answers, "citations"),
        evidence=_flat(answers, "evidence"),
        confidence=min((answer.confidence for answer in good), default=0.0),
        reason="; ".join(filter(None, (answer.reason for answer in answers))),
        data=None if data.count(None) == len(data) else data,
        tool_calls=_flat(answers, "tool_calls"),
        touched=tuple(sorted(set(_flat(answers, "touched")))),
        route=route,
        handoffs=_flat(answers, "handoffs"),
        guards={name: did for answer in answers for name, did in answer.guards.items()},
        usage=sum((answer.usage for answer in answers), Usage()),
    )


def composed(tasks: Sequence[str], answers: Sequence[Answer]) -> str:
    """The text of several answers as one: each said once, in the order of the tasks, what is open at the end.

    Args:
        tasks: What was asked, one an answer.

    >>> print(composed(["what do I pay?", "when is lunch?", "who won?"], [Answer(text="100 %"),
    ...     Answer(text="Lunch is at noon."), Answer(text="I do not know.", kind="abstain")]))
    What do I pay? 100 %
    Lunch is at noon.
    Nobody here could answer: who won?
    """
    pairs = list(zip(tasks, answers, strict=True))
    said = [_said(task, answer.text) for task, answer in pairs if answer.kind == "answer"]
    left = [_open(task, answer) for task, answer in pairs if answer.kind != "answer"]
    return "\n".join(dict.fromkeys([*said, *left]))


def _said(task: str, text: str) -> str:
    """A sentence, a list or a table stands for itself; a bare value needs what was asked."""
    if "\n" in text.strip() or _ENDED.search(text.strip()):
        return text
    return f"{_asked(task)} {text}"


def _open(task: str, answer: Answer) -> str:
    question = _asked(task, capital=False)
    if answer.kind == "clarify":
        return f"{_asked(task)} {answer.text}"
    if says("doubt", answer.text):
        return say("unsure", task, task=question)
    failed = answer.text if answer.text.startswith("I could not") else ""
    return f"{say('open', task, task=question)}{f' ({failed})' if failed else ''}"


def _asked(task: str, *, capital: bool = True) -> str:
    """A task with the mark that ends it: `?` behind a question, `:` behind all else that a value follows."""
    text = task.strip().rstrip(" .?!:;,") or task
    text = text[0].upper() + text[1:] if capital else text
    end = "?" if _ASKS.match(text) or task.rstrip().endswith("?") else ":" if capital else ""
    return f"{text}{end}"


def unfinished(trail: Sequence[str], brief: Brief) -> Answer:
    """What is told when a task goes round and nobody finishes it: who had it, and what was found on the way.

    Args:
        trail: Who had the task, in order; the last is the one who would have had it again.
        brief: As it was last passed on.
    """
    passed = f"{', '.join(dict.fromkeys(trail))} passed this on and nobody finished it."
    found = [f"Found on the way: {fact}" for fact in brief.facts]
    return Answer(
        text="\n".join([passed[0].upper() + passed[1:], *found]),
        kind="abstain",
        specialist=trail[-2] if len(trail) > 1 else trail[-1],
        evidence=brief.citations,
        reason=f"going round: {' → '.join(trail)}",
        touched=brief.touched,
    )


def _flat(answers: Sequence[Answer], field: str) -> tuple[Any, ...]:
    return tuple(item for answer in answers for item in getattr(answer, field))


def _listed(answers: Sequence[Answer], field: str) -> str:
    return ", ".join(dict.fromkeys(getattr(answer, field) or "" for answer in answers))


def _nobody(route: Route, task: str) -> Answer:
    """Nobody was chosen: say why, or ask which of the candidates is meant."""
    if route.decision == "clarify":
        text = say("which", task, names=say("or", task).join(route.candidates))
        return Answer(text=text, kind="clarify", reason=route.reason, confidence=route.confidence, route=route)
    text = say("nobody", task)
    return Answer(text=text, kind="abstain", reason=route.reason, confidence=route.confidence, route=route)
