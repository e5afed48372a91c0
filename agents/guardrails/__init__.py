"""Small checks before, between and after the work of a team, composed by name.

guard = build_guards(["length", "injection"], side="in")
guard("How often is the bearing greased?").action      # 'pass'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...core.embedding import Embedder
from ...core.plugins import load
from .grounded import grounded
from .guard import Check, Guard, GuardContext, Side, Verdict, length
from .injection import injection_between, injection_in
from .pii import pii

__all__ = ["Check", "Guard", "GuardContext", "Side", "Verdict", "build_guards"]

_Factory = Callable[[Embedder | None], Check]

GUARDS_EMBEDDER = "minilm"
"""The model on whose vectors the shipped heads were fitted (`benchmarks/skills/guard_heads.py`)."""

BUILT_IN_GUARDS: dict[str, dict[Side, _Factory]] = {
    "length": {"in": lambda _: length, "out": lambda _: length},
    "injection": {"in": injection_in, "between": injection_between},
    "pii": {"in": lambda _: pii(), "out": lambda _: pii()},
    "pii_strict": {"in": lambda _: pii(strict=True), "out": lambda _: pii(strict=True)},
    "pii_refuse": {"in": lambda _: pii(action="refuse"), "out": lambda _: pii(action="refuse")},
    "grounded": {"out": lambda _: grounded()},
}
"""Name → side → factory. A guard that has nothing to do on a side is left out there."""


def build_guards(
    names: Sequence[str], side: Side, embedder: Embedder | None = None, folders: Sequence[Path] = ()
) -> Guard:
    """One guard that runs the named ones in order.

    Args:
        names: built-in names, or `module:function` for your own `function(text, context) -> Verdict`, which runs on
            every side (`context.side` says which).
        side: which ones to take.
        embedder: for guards that go by meaning; without it `injection` finds less.
        folders: where modules of one's own may lie besides those that are installed.

    Raises:
        ConfigError: a name that is unknown or cannot be loaded.
    """
    checks: dict[str, Check] = {}
    for name in names:
        if name in BUILT_IN_GUARDS:
            factory = BUILT_IN_GUARDS[name].get(side)
            if factory:
                checks[name] = factory(embedder)
        else:
            checks[name] = load(name, "guardrail", BUILT_IN_GUARDS, field="guardrails", folders=folders)
    return Guard(side, checks)
