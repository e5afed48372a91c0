"""Why a task went where it went, and what would have changed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.types import Route, Value
from .decider import DOUBT, Decider
from .example import Example, normalise

NEAREST = 5
MOST_WORDS = 24
"""Of longer tasks only the first so many words are left out in turn."""
MATTERS = 0.02
"""A word that moves the probability by less is not named."""


class Neighbour(Value):
    """An example that is like the task."""

    text: str
    label: str | None
    similarity: float
    """Cosine, at most 1."""


class Word(Value):
    """A word of the task, and what it adds to the probability of the specialist that was chosen."""

    text: str
    effect: float
    otherwise: str | None
    """Who would get the task without this word; None: nobody."""


class Explanation(Value):
    """See `Router.explain`."""

    text: str
    route: Route
    decided_by: str
    """`rule`, `words`, `head` or `thread`."""
    nearest: tuple[Neighbour, ...]
    words: tuple[Word, ...]
    would_change: tuple[str, ...]
    """Sentences."""


def explain(
    decider: Decider, learnt: Sequence[Example], text: str, context: Sequence[str], attachments: Sequence[str]
) -> Explanation:
    """Decide, then ask the model what it would have said to the task with each word left out."""
    route = decider.decide(text, context, attachments)
    clean = normalise(text)
    ruled = route.confidence == 1.0 and bool(route.parts)
    words = () if not clean or ruled or route.decision == "several" else _words(decider, clean, route)
    return Explanation(
        text=text,
        route=route,
        decided_by=_decided_by(route),
        nearest=_nearest(decider, learnt, clean) if clean else (),
        words=words,
        would_change=_would_change(decider, route, words),
    )


def _decided_by(route: Route) -> str:
    if "top" in route.signals:
        return "thread" if "read with the thread" in route.reason else "head"
    return "words" if "inside" in route.signals else "rule"


def _nearest(decider: Decider, learnt: Sequence[Example], text: str) -> tuple[Neighbour, ...]:
    cosine = (decider.embedder.embed([text]) @ decider.model.rows.vectors.T)[0]
    best = np.argsort(-cosine, kind="stable")[:NEAREST]
    return tuple(
        Neighbour(text=learnt[i].text, label=learnt[i].label, similarity=round(float(cosine[i]), 4)) for i in best
    )


def _words(decider: Decider, text: str, route: Route) -> tuple[Word, ...]:
    tokens = text.split()
    if len(tokens) < 2:
        return ()
    without = [" ".join([*tokens[:i], *tokens[i + 1 :]]) for i in range(min(len(tokens), MOST_WORDS))]
    judged = decider.judge([text, *without])
    names, threshold = decider.model.names, decider.model.calibration.threshold
    column = names.index(route.choice) if route.choice else int(judged.given_inside[0].argmax())
    chance = judged.inside * judged.given_inside[:, column]
    found = []
    for row, token in enumerate(tokens[: len(without)], 1):
        effect = float(chance[0] - chance[row])
        other = names[int(judged.given_inside[row].argmax())] if judged.inside[row] >= threshold else None
        if abs(effect) >= MATTERS or other != route.choice:
            found.append(Word(text=token, effect=round(effect, 4), otherwise=other))
    return tuple(sorted(found, key=lambda word: -abs(word.effect)))


def _would_change(decider: Decider, route: Route, words: Sequence[Word]) -> tuple[str, ...]:
    calibration = decider.model.calibration
    inside = route.signals.get("inside")
    said: list[str] = []
    if _decided_by(route) == "rule":
        said.append("only another rule, or a task without what the rule looks for")
    elif inside is not None and route.decision == "abstain":
        said.append(f"more examples like it: {inside:.0%} is below the {calibration.threshold:.0%} that are needed")
    elif inside is not None and "top" in route.signals:
        said.append(f"nobody would get it below {calibration.threshold:.0%} (it has {inside:.0%})")
    best = [choice for choice in route.choices if choice.probability > 0][:2]
    if len(best) == 2 and best[0].probability < DOUBT:
        said.append(f"{best[1].name} is close: {best[1].probability:.0%} against {best[0].probability:.0%}")
    turning = [word for word in words if word.otherwise != route.choice][:3]
    said += [f"without “{word.text}” it would go to {word.otherwise or 'nobody'}" for word in turning]
    return tuple(said)
