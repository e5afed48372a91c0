"""A specialist's tools, as its card asks for them, within what the team allows."""

from __future__ import annotations

from ..core.embedding import Embedder
from ..specialists.knowledge.knowledge import Knowledge
from ..tools.context import ToolContext
from ..tools.hands import Hands
from ..tools.ledger import Ledger
from ..tools.registry import build_tools
from ..tools.runner import ToolRunner
from .blueprint import Blueprint
from .guardrails import build_guards
from .journal import GraphJournal, ask_person, between


def open_hands(
    plan: Blueprint, name: str, knowledge: Knowledge | None, ledger: Ledger, embedder: Embedder | None = None
) -> Hands | None:
    """The hands of a specialist; None when its card names no tools.

    Raises:
        ConfigError: a tool cannot be made.
        MissingExtra: a tool whose library is not installed.
    """
    if not plan.specialists[name].tools:
        return None
    search = (lambda text: knowledge.search(text)) if knowledge else None
    tools = build_tools(plan.specialists[name].tools, ToolContext(plan.folders[name], plan.state / "output", search))
    return Hands(
        tools,
        rules=plan.card.policy,
        runner=ToolRunner(tools, seconds=plan.card.budget.tool_seconds, ledger=ledger),
        journal=GraphJournal(),
        ask=ask_person if plan.card.memory.checkpoints != "none" else None,
        check=between(build_guards(plan.card.guardrails, "between", embedder)),
    )
