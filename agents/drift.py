"""Are questions, answers and documents still what the team was made for? Told when they are not, with few false alarms.

Each turn is compared with all turns before it: how many were at least as strange? As long as nothing changes that share
is uniform between 0 and 1, whatever the questions are (Vovk, Nouretdinov and Gammerman, "Testing exchangeability
on-line", ICML 2003). A bet that it is small, begun anew at every turn, tells a change: it reaches `1 / FALSE_ALARM`
without one after as many turns on average, or later (the Shiryaev-Roberts e-detector of Shin, Ramdas and Rinaldo,
"E-detectors: a nonparametric framework for sequential change detection", The New England Journal of Statistics in Data
Science 2, 2024). `benchmarks/canary.py` counts the false alarms of all bets together.

What is watched of each turn:

- `questions`: the cosine with the nearest of the router's examples and of the first questions that were asked.
- `fields`: who got it; told when somebody, or nobody, gets more than before.
- `confidence`: how sure the answers are; told when they are less sure.
- `abstentions`: told when more is left unanswered.
- `documents`: files that are not as they were built; no bet is needed there.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from ..core.files import write_atomic
from ..core.types import Value
from ..router.router import Router
from .answer_log import NOBODY, AnswerLog, AnswerNumbers
from .build import changed_since_build
from .cards import Blueprint

FALSE_ALARM = 1e-4
"""Of each of the four that are watched by bets: false alarms a turn, at most."""
REFERENCE = 100
"""So many first questions are what later ones are compared with, beside the router's examples."""
_POWERS = np.array([0.2, 0.4, 0.6, 0.8])
"""Bets on a small share p: each pays `power * p ** (power - 1)`."""

# The detector.


def shares(strangeness: Sequence[float], chances: Sequence[float]) -> NDArray[np.float64]:
    """For each value the share of it and those before it that are at least as large; ties are broken by the chances.

    Uniform on (0, 1] and independent of each other as long as the values may stand in any order.
    """
    seen, found = list[float](), np.empty(len(strangeness))
    for place, (value, chance) in enumerate(zip(strangeness, chances, strict=True)):
        insort(seen, value)
        above = len(seen) - bisect_right(seen, value)
        same = len(seen) - above - bisect_left(seen, value)
        found[place] = (above + chance * same) / len(seen)
    return found


def detect(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The detector after each turn; what it reaches is told where it passes `1 / FALSE_ALARM`.

    Args:
        p: Shares, (turns,), or (turns, several) to watch several at once: their mean counts.
    """
    columns = p.reshape(len(p), -1)
    pays = _POWERS[:, None, None] * np.maximum(columns, 1e-9) ** (_POWERS[:, None, None] - 1)
    level, found = np.zeros((len(_POWERS), columns.shape[1])), np.empty(len(p))
    for turn in range(len(p)):
        level = (level + 1) * pays[:, turn]
        found[turn] = level.mean()
    return found


class Alarm(NamedTuple):
    """Where a detector told a change."""

    began: int
    """The turn at which the change probably happened."""
    told: int
    """The turn at which it was told."""


def first_alarm(p: NDArray[np.float64]) -> Alarm | None:
    """The first change that is told; None while there is none. Arguments as `detect`."""
    over = np.flatnonzero(detect(p) >= 1 / FALSE_ALARM) if len(p) else ()
    if not len(over):
        return None
    told = int(over[0])
    bets = np.log(0.5 * np.maximum(p.reshape(len(p), -1)[: told + 1], 1e-9) ** -0.5)
    sums = np.vstack([np.zeros(bets.shape[1]), np.cumsum(bets, axis=0)])
    column = int((sums[-1] - sums.min(axis=0)).argmax())
    return Alarm(int(sums[:-1, column].argmin()), told)


# What is watched.


def strange_questions(turns: Sequence[AnswerNumbers], examples: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far each question after the first `REFERENCE` is from all that is known, 0 (the same) to 2.

    Args:
        turns: Oldest first.
        examples: Vectors of the router's examples, (examples, dimension).
    """
    if len(turns) <= REFERENCE:
        return np.empty(0)
    vectors = np.stack([turn.vector for turn in turns])
    known = np.concatenate([examples.reshape(-1, vectors.shape[1]), vectors[:REFERENCE]])
    return 1.0 - (vectors[REFERENCE:] @ known.T).max(axis=1).astype(np.float64)


def _questions(turns: Sequence[AnswerNumbers], examples: NDArray[np.float32]) -> NDArray[np.float64]:
    strange = strange_questions(turns, examples)
    return shares(list(strange), [turn.chance for turn in turns[-len(strange) :]] if len(strange) else [])


def _more(turns: Sequence[AnswerNumbers], have: Sequence[bool]) -> NDArray[np.float64]:
    """Shares for the question whether something is had more often than before."""
    return shares([float(one) for one in have], [turn.chance for turn in turns])


class Drift(Value):
    """One of the things that are watched."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    what: str
    """`questions`, `fields`, `confidence`, `abstentions`, `documents`."""
    drifted: bool
    seen: int
    """Turns, or changed documents, that were looked at."""
    since: str = ""
    """When the change probably began; UTC, ISO 8601."""
    after: int = 0
    """Turns from there until it could be told."""
    text: str = ""
    """For people: what is known about it."""
    examples: tuple[str, ...] = ()
    """Questions that are new, or names of documents."""


def drifts(turns: Sequence[AnswerNumbers], names: Sequence[str], examples: NDArray[np.float32]) -> Iterator[Drift]:
    """What the turns of a team say.

    Args:
        turns: Oldest first.
        names: The specialists.
        examples: Vectors of the router's examples, (examples, dimension).
    """
    known = _questions(turns, examples)
    alarm, offset = first_alarm(known), len(turns) - len(known)
    new = ()
    if alarm:
        strange = strange_questions(turns, examples)[alarm.began :]
        new = tuple(turns[offset + alarm.began + int(i)].task for i in np.argsort(-strange)[:3])
    yield _drift("questions", turns, alarm, offset, "questions are unlike the examples and those before", new)

    labels = sorted({*names, NOBODY})
    columns = [_more(turns, [turn.label == label for turn in turns]) for label in labels]
    alarm = first_alarm(np.stack(columns, axis=1))
    yield _drift("fields", turns, alarm, 0, _fields(turns, labels, alarm), ())

    sure = [turn for turn in turns if turn.answered]
    alarm = first_alarm(shares([-turn.confidence for turn in sure], [turn.chance for turn in sure]))
    yield _drift("confidence", sure, alarm, 0, _means(sure, alarm), ())

    alarm = first_alarm(_more(turns, [not turn.answered for turn in turns]))
    yield _drift("abstentions", turns, alarm, 0, "more questions are left unanswered than before", ())


def _drift(
    what: str, turns: Sequence[AnswerNumbers], alarm: Alarm | None, offset: int, text: str, examples: tuple[str, ...]
) -> Drift:
    if alarm is None:
        return Drift(what=what, drifted=False, seen=len(turns))
    at = datetime.fromtimestamp(turns[offset + alarm.began].at, UTC).isoformat(timespec="seconds")
    after = alarm.told - alarm.began + 1
    return Drift(what=what, drifted=True, seen=len(turns), since=at, after=after, text=text, examples=examples)


def _fields(turns: Sequence[AnswerNumbers], labels: Sequence[str], alarm: Alarm | None) -> str:
    if alarm is None:
        return ""

    def part(label: str, among: Sequence[AnswerNumbers]) -> float:
        return sum(turn.label == label for turn in among) / max(1, len(among))

    before, after = turns[: alarm.began], turns[alarm.began : alarm.told + 1]
    label = max(labels, key=lambda one: part(one, after) - part(one, before))
    return f"{label} gets {part(label, after):.0%} of the questions, {part(label, before):.0%} before"


def _means(turns: Sequence[AnswerNumbers], alarm: Alarm | None) -> str:
    if alarm is None:
        return ""
    before, after = turns[: alarm.began] or turns[:1], turns[alarm.began : alarm.told + 1]
    means = [float(np.mean([turn.confidence for turn in part])) for part in (after, before)]
    return f"answers are {means[0]:.0%} sure, {means[1]:.0%} before"


# Of a team.


def watch(plan: Blueprint, answers: AnswerLog | None, router: Router) -> list[Drift]:
    """Everything that is watched of a team.

    Args:
        plan: The team.
        answers: Its log; None where it keeps none: only documents are looked at then.
        router: As it works at present.
    """
    turns = answers.read(_accepted(plan)) if answers else []
    own = router.model.rows.vectors[: router.model.own]
    return [*drifts(turns, list(plan.specialists), own), _documents(plan)]


def operation_figures(plan: Blueprint, answers: AnswerLog | None, router: Router) -> list[tuple[str, str, float]]:
    """What is watched as numbers for a monitor: a name, the thing it is about, and a value. Arguments as `watch`.

    With thousands of turns it takes up to a second: once a minute is often enough.
    """
    found = watch(plan, answers, router)
    return [
        *(("metier_drift", one.what, float(one.drifted)) for one in found),
        *(("metier_watched", one.what, float(one.seen)) for one in found),
    ]


def _documents(plan: Blueprint) -> Drift:
    changed = changed_since_build(plan) or []
    text = f"changed since the build: {len(changed)}" if changed else ""
    return Drift(
        what="documents", drifted=bool(changed), seen=len(changed), text=text, examples=tuple(sorted(changed)[:3])
    )


def accept_present(plan: Blueprint) -> None:
    """What is now is what shall be: turns are compared with those from now on."""
    write_atomic(plan.state / "watch.json", json.dumps({"since": time.time()}))


def _accepted(plan: Blueprint) -> float:
    path = plan.state / "watch.json"
    return float(json.loads(path.read_text())["since"]) if path.is_file() else 0.0
