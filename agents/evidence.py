"""The second look of a router in doubt: whose documents speak of this?

Costs one search per candidate (the task is embedded already), about a millisecond each, and no model call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..specialists.confidence import evidence
from ..specialists.specialist import Specialist

LEAD = 0.05
"""By so much the best evidence must be ahead of the next, otherwise the user is asked."""


def by_evidence(specialists: Mapping[str, Specialist]) -> Callable[[str, Sequence[str]], str | None]:
    """A function `(task, candidates) -> name`; None when no candidate's documents stand out.

    Evidence is the mean of two shares: how many of the task's content words the best passage covers, and its cosine.
    """

    def look(task: str, names: Sequence[str]) -> str | None:
        found = {n: k.search(task, k=3) for n in names if (k := specialists[n].knowledge)}
        ranked = sorted(((evidence(task, passages), name) for name, passages in found.items()), reverse=True)
        if len(ranked) < 2 or ranked[0][0] - ranked[1][0] < LEAD:
            return None
        return ranked[0][1]

    return look


def best_evidence(specialists: Mapping[str, Specialist]) -> Callable[[str, Sequence[str]], float]:
    """A function `(task, names) -> evidence`: how much the documents of these specialists speak of a task, 0 to 1.

    Who works without documents, with tools say, is always the one to ask: 1.
    """

    def look(task: str, names: Sequence[str]) -> float:
        knowing = [specialists[name].knowledge for name in names]
        return max((evidence(task, k.search(task, k=3)) if k else 1.0 for k in knowing), default=0.0)

    return look
