"""Several outcomes, one answer."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.types import Answer, Route, Usage


def join(route: Route, answers: Sequence[Answer]) -> Answer:
    """Pass a single answer through; put several under each other, every citation kept.

    Args:
        route: How the task was split.
        answers: One a part, in the order of the parts; empty when the router chose nobody.
    """
    if not answers:
        return _nobody(route)
    if len(answers) == 1:
        return answers[0].model_copy(update={"route": route})
    good = [a for a in answers if a.kind == "answer"]
    return Answer(
        text="\n".join(f"{a.specialist}: {a.text}" for a in answers),
        kind="answer" if good else "abstain",
        specialist=", ".join(dict.fromkeys(a.specialist or "" for a in answers)),
        version=", ".join(dict.fromkeys(a.version or "" for a in answers)),
        citations=tuple(c for a in answers for c in a.citations),
        confidence=min((a.confidence for a in good), default=0.0),
        reason="; ".join(a.reason for a in answers if a.reason),
        data=[a.data for a in answers] if any(a.data is not None for a in answers) else None,
        tool_calls=tuple(t for a in answers for t in a.tool_calls),
        touched=tuple(sorted({touch for a in answers for touch in a.touched})),
        route=route,
        handoffs=tuple(name for a in answers for name in a.handoffs),
        guards={name: did for a in answers for name, did in a.guards.items()},
        usage=sum((a.usage for a in answers), Usage()),
    )


def _nobody(route: Route) -> Answer:
    """Nobody was chosen: say why, or ask which of the candidates is meant."""
    if route.decision == "clarify":
        names = " or ".join(route.candidates)
        text = f"Do you mean something for {names}?"
        return Answer(text=text, kind="clarify", reason=route.reason, confidence=route.confidence, route=route)
    text = "Nobody on this team can answer that."
    return Answer(text=text, kind="abstain", reason=route.reason, confidence=route.confidence, route=route)
