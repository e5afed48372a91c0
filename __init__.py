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
# as soon as another process wants a core, an answer takes many times as long: so they spin for microseconds only.
# The library reads this when it is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from .agents.build import build
    from .agents.cards import TeamCard
    from .agents.evaluate import evaluate
    from .agents.guardrails.guard import GuardContext, Verdict
    from .agents.team import Team
    from .agents.train import retrain, train
    from .agents.workflows.execute import Workflow
    from .agents.workflows.plan import Plan
    from .core.embedding import Embedder
    from .core.errors import (
        BudgetExceeded,
        ConfigError,
        ContextOverflow,
        EngineError,
        InputError,
        IntegrityError,
        KnowledgeError,
        MetierError,
        MissingExtra,
        ModelError,
        ModelNotPulled,
        PullFailed,
        RouterError,
        StateError,
        ToolDenied,
        ToolError,
        UnknownAdapter,
        UnknownModel,
        UnreadableDocument,
    )
    from .core.models import ModelStore
    from .core.onnx_embedder import load_embedder
    from .core.run import Event
    from .core.types import Answer, Brief, Citation, Handoff, Outcome, Passage, Route, ToolCall, Turn
    from .router.router import Router
    from .specialists.card import HandoffCard, KnowledgeCard, ModelCard, SpecialistCard
    from .specialists.engines.engine import Engine, Sampling
    from .specialists.engines.scripted import ScriptedEngine
    from .specialists.evaluation.measures import Scoring
    from .specialists.prompt import TrainingExample
    from .specialists.query_engine import QueryEngine
    from .specialists.specialist import Specialist
    from .specialists.styles.style import Style
    from .specialists.work import Draft, Work
    from .tools.policy import Effects
    from .tools.tool import ToolContext, tool

_HOME = {
    "Answer": "core.types",
    "Brief": "core.types",
    "BudgetExceeded": "core.errors",
    "Citation": "core.types",
    "ConfigError": "core.errors",
    "ContextOverflow": "core.errors",
    "Draft": "specialists.work",
    "Effects": "tools.policy",
    "Embedder": "core.embedding",
    "Engine": "specialists.engines.engine",
    "EngineError": "core.errors",
    "Event": "core.run",
    "GuardContext": "agents.guardrails.guard",
    "Handoff": "core.types",
    "HandoffCard": "specialists.card",
    "InputError": "core.errors",
    "IntegrityError": "core.errors",
    "KnowledgeCard": "specialists.card",
    "KnowledgeError": "core.errors",
    "MetierError": "core.errors",
    "MissingExtra": "core.errors",
    "ModelCard": "specialists.card",
    "ModelError": "core.errors",
    "ModelNotPulled": "core.errors",
    "ModelStore": "core.models",
    "Outcome": "core.types",
    "Passage": "core.types",
    "Plan": "agents.workflows.plan",
    "PullFailed": "core.errors",
    "QueryEngine": "specialists.query_engine",
    "Route": "core.types",
    "Router": "router.router",
    "RouterError": "core.errors",
    "Sampling": "specialists.engines.engine",
    "Scoring": "specialists.evaluation.measures",
    "ScriptedEngine": "specialists.engines.scripted",
    "Specialist": "specialists.specialist",
    "SpecialistCard": "specialists.card",
    "StateError": "core.errors",
    "Style": "specialists.styles.style",
    "Team": "agents.team",
    "TeamCard": "agents.cards",
    "ToolCall": "core.types",
    "ToolContext": "tools.tool",
    "ToolDenied": "core.errors",
    "ToolError": "core.errors",
    "TrainingExample": "specialists.prompt",
    "Turn": "core.types",
    "UnknownAdapter": "core.errors",
    "UnknownModel": "core.errors",
    "UnreadableDocument": "core.errors",
    "Verdict": "agents.guardrails.guard",
    "Work": "specialists.work",
    "Workflow": "agents.workflows.execute",
    "build": "agents.build",
    "evaluate": "agents.evaluate",
    "load_embedder": "core.onnx_embedder",
    "retrain": "agents.train",
    "tool": "tools.tool",
    "train": "agents.train",
}

__all__ = [
    "Answer",
    "Brief",
    "BudgetExceeded",
    "Citation",
    "ConfigError",
    "ContextOverflow",
    "Draft",
    "Effects",
    "Embedder",
    "Engine",
    "EngineError",
    "Event",
    "GuardContext",
    "Handoff",
    "HandoffCard",
    "InputError",
    "IntegrityError",
    "KnowledgeCard",
    "KnowledgeError",
    "MetierError",
    "MissingExtra",
    "ModelCard",
    "ModelError",
    "ModelNotPulled",
    "ModelStore",
    "Outcome",
    "Passage",
    "Plan",
    "PullFailed",
    "QueryEngine",
    "Route",
    "Router",
    "RouterError",
    "Sampling",
    "Scoring",
    "ScriptedEngine",
    "Specialist",
    "SpecialistCard",
    "StateError",
    "Style",
    "Team",
    "TeamCard",
    "ToolCall",
    "ToolContext",
    "ToolDenied",
    "ToolError",
    "TrainingExample",
    "Turn",
    "UnknownAdapter",
    "UnknownModel",
    "UnreadableDocument",
    "Verdict",
    "Work",
    "Workflow",
    "__version__",
    "build",
    "evaluate",
    "load_embedder",
    "retrain",
    "tool",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'metier' has no attribute '{name}'")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
