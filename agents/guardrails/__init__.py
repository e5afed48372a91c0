"""Small checks before, between and after the work of a team, composed by name.

guard = build_guards(["length", "injection"], side="in")
guard("How often is the bearing greased?").action      # 'pass'
"""

from __future__ import annotations

from .build import build_guards
from .guard import Check, Guard, GuardContext, Side, Verdict

__all__ = ["Check", "Guard", "GuardContext", "Side", "Verdict", "build_guards"]
