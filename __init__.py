"""metier: teams of small specialist agents that run on your own machine.

    from metier import Team
    team = Team.load("plant")
    answer = team.ask("How often is the filler's carousel bearing greased?")

Names are loaded when first used, so that `import metier` stays cheap.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

# The threads of a model wait for one another at each layer. Waiting by spinning costs little on a quiet machine, but
# as soon as another process wants a core, an answer takes 20 times as long. The library reads this when it is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

if TYPE_CHECKING:
    from .agents.team import Team
    from .core.errors import MetierError
    from .core.types import Answer, Brief, Citation, Handoff, Passage, Route
    from .router.router import Router
    from .specialists.card import KnowledgeCard, SpecialistCard
    from .specialists.specialist import Specialist
    from .tools.tool import tool

_HOME = {
    "Answer": "core.types",
    "Brief": "core.types",
    "Citation": "core.types",
    "Handoff": "core.types",
    "KnowledgeCard": "specialists.card",
    "MetierError": "core.errors",
    "Passage": "core.types",
    "Route": "core.types",
    "Router": "router.router",
    "Specialist": "specialists.specialist",
    "SpecialistCard": "specialists.card",
    "Team": "agents.team",
    "tool": "tools.tool",
}

__all__ = [
    "Answer",
    "Brief",
    "Citation",
    "Handoff",
    "KnowledgeCard",
    "MetierError",
    "Passage",
    "Route",
    "Router",
    "Specialist",
    "SpecialistCard",
    "Team",
    "__version__",
    "tool",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'metier' has no attribute '{name}'")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
