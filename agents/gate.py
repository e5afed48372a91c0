"""The gate of a team: challengers that are better than what is in use become champions; others stay, with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ..core.embedding import Embedder
from ..core.models import LocalModel
from ..core.types import Value
from ..specialists.adapters.choose import trained_on
from ..specialists.evaluation.gate import judge
from ..specialists.knowledge.knowledge import Knowledge
from .blueprint import Blueprint
from .evaluation import Bench, Progress, threshold

Gate = Literal["promote", "hold", "off"]
"""What is done with challengers: evaluate and promote the better ones, only evaluate, or nothing."""


class Verdict(Value):
    """What the gate did with one challenger."""

    specialist: str
    challenger: str
    promoted: bool
    why: str


def decide(
    blueprint: Blueprint,
    base: LocalModel | None,
    embedder: Embedder,
    knowledge: Mapping[str, Knowledge],
    progress: Progress,
    gate: Gate,
) -> list[Verdict]:
    """Evaluate every challenger on its specialist's own questions, and promote the better ones.

    Without challengers nothing is done. Answers are kept, so that the next build decides from what it knows.

    Args:
        base: None when a server runs it: nothing is decided then.

    Raises:
        IntegrityError: a challenger was changed after it was made.
    """
    waiting = [name for name in blueprint.specialists if blueprint.registry.state(name).challenger]
    if gate == "off" or not waiting or base is None:
        return []
    bench = Bench(blueprint, base, embedder, knowledge, progress)
    return [_decide(bench, name, hold=gate == "hold") for name in waiting]


def _decide(bench: Bench, name: str, *, hold: bool) -> Verdict:
    plan, registry = bench.blueprint, bench.blueprint.registry
    version = registry.find(name, "challenger")
    better, why = _compare(bench, name)
    if better and not hold:
        registry.promote(name, version.id, why)
        return Verdict(specialist=name, challenger=version.id, promoted=True, why=why)
    if better:
        why = f"held back; {why}. Promote it: metier registry promote {name} -t {plan.root}"
    registry.keep_back(name, why)
    return Verdict(specialist=name, challenger=version.id, promoted=False, why=why)


def _compare(bench: Bench, name: str) -> tuple[bool, str]:
    """Whether the challenger is better, and why."""
    plan, card = bench.blueprint, bench.blueprint.specialists[name]
    if not trained_on(plan.registry.find(name, "challenger").path, plan.card.base):
        return False, f"it was trained for another base than {plan.card.base}"
    if not bench.questions(name):
        return False, "the card names no `evaluation` set to decide by"
    (challenger,), used = bench.trials(name, ["challenger"]), bench.in_use(name)
    if challenger.version == used.version:
        return False, f"it is what '{name}' works with already"
    mine, theirs = bench.run([challenger, used])
    champion = plan.registry.state(name).champion
    own = Path(used.adapter).name if used.adapter else "none"
    incumbent = f"champion {champion}" if champion else f"the card's adapter ({own})"
    found = judge(mine, theirs, card.style, threshold(plan, name), incumbent)
    return found.better, found.why
