"""Whose documents speak of a task: what the router reads off its examples and what the documents say, weighed together.

A router of a dozen examples a specialist knows how people ask, not all that they may ask about; the documents do.
The figures behind the constants are in docs/log.md (`benchmarks/documents.py`, `benchmarks/team.py`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from ..core.language import language_of
from ..core.types import Part, Passage, Route
from ..router.decision import segments
from ..specialists.confidence import answer_evidence
from ..specialists.specialist import Specialist

Evidence = Callable[[str, Sequence[str]], dict[str, float]]
"""`(task, names) -> name to how much the documents of that specialist speak of the task`, 0 to 1."""

_WEIGHT = 12.0
"""A specialist's probability is multiplied by the exponential of so many times its evidence."""

_TYPICAL = 0.45
"""What documents say of a task of their own; counts for those who work without documents."""

_SURE = 0.95
"""A route of this probability is not looked at again."""

_SPEAKS = 0.46
"""Cosine of a passage from which on a task that the router would turn away is somebody's after all."""

_ALONE = 0.6
"""Who has this share of the probability works alone; otherwise the two likeliest do, and the surest answer counts."""

_APART = 0.1
"""By so much more must the documents of another speak of a part of a task."""

_MOST = 8
"""Of large teams the likeliest are looked at."""


class Documents:
    """The documents of a team's specialists, asked how much they speak of a task.

    Evidence is the mean of two shares: how many of the task's content words the best passage covers, and its cosine.
    """

    def __init__(self, specialists: Mapping[str, Specialist]) -> None:
        self._specialists = specialists
        self._found = lru_cache(maxsize=256)(self._search)

    def evidence(self, task: str, names: Sequence[str]) -> dict[str, float]:
        """Who works without documents, with tools say, is always worth asking: 1."""
        return {n: answer_evidence(task, self._found(task, n)) if self._knows(n) else 1.0 for n in names}

    def of_those_who_have_some(self, task: str, names: Sequence[str]) -> dict[str, float]:
        """The evidence of those who have documents."""
        return self.evidence(task, [name for name in names if self._knows(name)])

    def words(self) -> Counter[str]:
        """The words of all documents, and how often each comes."""
        counted: Counter[str] = Counter()
        for specialist in self._specialists.values():
            counted.update(specialist.knowledge.words() if specialist.knowledge else {})
        return counted

    def settle(self, task: str, query: str, route: Route, read: Callable[[str], Route]) -> Route:
        """The route, weighed with the documents.

        Nobody is asked back whom a task is meant for: the two likeliest work on it. A task that is probably nobody's
        goes to those whose documents speak of it after all. What a rule, the user or an example decided stays.

        Args:
            query: The task, made self-contained.
            read: The router, which is asked about the parts of the task.
        """
        if route.confidence >= 1 or not route.choices:
            return route
        if parts := route.parts if route.decision == "several" else self._parts(task, read):
            return self._by_parts(task, route, parts)
        if route.decision == "one" and route.confidence >= _SURE:
            return route
        names = [choice.name for choice in route.choices[:_MOST]]
        if route.decision == "abstain" and self._cosine(query, names) < _SPEAKS:
            return route
        shares = self._pooled(query, route, names)
        best, *rest = sorted(shares, key=lambda name: -shares[name])
        if shares[best] >= _ALONE or not rest:
            return _given(task, route, [best])
        return _given(task, route, [best, rest[0]])

    def _pooled(self, query: str, route: Route, names: Sequence[str]) -> dict[str, float]:
        """Each one's share of the probability: the router's, times what the documents say (a logarithmic pool)."""
        known, chances = self.of_those_who_have_some(query, names), route.probabilities
        # Of a question in another language documents speak less: who has none gains nothing by that.
        typical = min(_TYPICAL, max(known.values(), default=_TYPICAL)) if language_of(query) != "en" else _TYPICAL
        weights = {n: max(chances[n], 1e-4) * math.exp(_WEIGHT * known.get(n, typical)) for n in names}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()}

    def _parts(self, task: str, read: Callable[[str], Route]) -> tuple[Part, ...]:
        """The parts of a task that surely belong to different specialists; none where it is one task."""
        pieces = segments(task)
        routes = [read(piece) for piece in pieces]
        if all(route.decision == "abstain" for route in routes):
            return ()
        owners: list[str] = []
        for piece, route in zip(pieces, routes, strict=True):
            shares = self._pooled(piece, route, [choice.name for choice in route.choices[:_MOST]])
            owners.append(max(shares, key=lambda name: shares[name], default=""))
            if shares.get(owners[-1], 0.0) < _ALONE:
                return ()
        if len({*owners}) < 2:
            return ()
        return tuple(Part(specialist=owner, text=piece) for owner, piece in zip(owners, pieces, strict=True))

    def _by_parts(self, task: str, route: Route, parts: Sequence[Part]) -> Route:
        """Each part with whom it was given to, unless another's documents speak of it much more."""
        names = [choice.name for choice in route.choices[:_MOST]]
        owned: list[Part] = []
        for part in parts:
            known = self.of_those_who_have_some(part.text, names)
            best = max(known, key=lambda name: known[name], default=part.specialist)
            ahead = part.specialist in known and known[best] - known[part.specialist] >= _APART
            owned.append(part.model_copy(update={"specialist": best}) if ahead else part)
        owners = list(dict.fromkeys(part.specialist for part in owned))
        if len(owners) == 1:
            return _given(task, route, owners)
        reason = f"parts for {' and '.join(owners)}"
        update = {"decision": "several", "parts": tuple(owned), "candidates": tuple(owners), "reason": reason}
        return route.model_copy(update=update)

    def _cosine(self, query: str, names: Sequence[str]) -> float:
        found = (p for name in names if self._knows(name) for p in self._found(query, name))
        return max((passage.signals.get("dense", 0.0) for passage in found), default=0.0)

    def _knows(self, name: str) -> bool:
        return name in self._specialists and self._specialists[name].knowledge is not None

    def _search(self, task: str, name: str) -> Sequence[Passage]:
        knowledge = self._specialists[name].knowledge
        return knowledge.search(task, k=3, rerank=False) if knowledge else ()


def _given(task: str, route: Route, names: Sequence[str]) -> Route:
    """The task for these specialists; the route as it was where they are whom it had chosen."""
    if route.decision == "one" and [part.specialist for part in route.parts] == list(names):
        return route
    return route.model_copy(
        update={
            "decision": "surest" if len(names) > 1 else "one",
            "parts": tuple(Part(specialist=name, text=task) for name in names),
            "candidates": tuple(names),
            "reason": f"{route.reason}; the documents of {' and '.join(names)} speak of it",
        }
    )
