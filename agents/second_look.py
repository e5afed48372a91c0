"""When a router is in doubt the documents decide: whose speak of the task?

Evidence is the mean of two shares: how many of the task's content words the best passage covers, and its cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..core.types import Part, Route
from ..specialists.confidence import answer_evidence
from ..specialists.specialist import Specialist

Evidence = Callable[[str, Sequence[str]], dict[str, float]]
"""`(task, names) -> name to how much the documents of that specialist speak of the task`, 0 to 1."""

SPEAKS = 0.55
"""From this evidence on, a task that the router would turn away is given to those whose documents speak of it."""

_TOGETHER = 2
"""So many of those whom a task could be meant for work on it; the surest answer counts."""


def evidence_of(specialists: Mapping[str, Specialist]) -> Evidence:
    """What the documents of a team say. Who works without documents, with tools say, is always worth asking: 1."""

    def look(task: str, names: Sequence[str]) -> dict[str, float]:
        knowing = {name: specialists[name].knowledge for name in names}
        return {name: answer_evidence(task, k.search(task, k=3)) if k else 1.0 for name, k in knowing.items()}

    return look


def by_documents(specialists: Mapping[str, Specialist]) -> Evidence:
    """The router's second look: what the documents say, of those who have any."""
    evidence = evidence_of(specialists)
    return lambda task, names: evidence(task, [name for name in names if specialists[name].knowledge])


def settle(task: str, query: str, route: Route, evidence: Evidence) -> Route:
    """The route, with what it leaves open decided by the documents.

    Nobody is asked back whom a task is meant for: the likeliest work on it together. A task that is probably nobody's
    goes to those whose documents speak of it after all.

    Args:
        query: The task, made self-contained.
    """
    if route.decision == "clarify":
        found = evidence(query, route.candidates)
        names = sorted(found, key=lambda name: -found[name])[:_TOGETHER]
        return _given(task, route, names, "so each looks")
    if route.decision == "abstain" and route.confidence < 1 and route.choices:
        found = evidence(query, [choice.name for choice in route.choices])
        best = max(found, key=lambda name: found[name])
        if found[best] >= SPEAKS:
            return _given(task, route, [best], f"but the documents of {best} speak of it")
    return route


def _given(task: str, route: Route, names: Sequence[str], reason: str) -> Route:
    return route.model_copy(
        update={
            "decision": "surest" if len(names) > 1 else "one",
            "parts": tuple(Part(specialist=name, text=task) for name in names),
            "candidates": tuple(names),
            "reason": f"{route.reason}; {reason}",
        }
    )
