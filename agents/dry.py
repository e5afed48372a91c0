"""Tools that look real to the model and do nothing: an evaluation must not send, write or order anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..core.types import ToolCall, Touch
from ..tools.context import ToolContext
from ..tools.hands import Hands
from ..tools.registry import build_tools
from .blueprint import Blueprint


class DryTools:
    """A `Toolbox` whose calls are only noted."""

    touched: tuple[Touch, ...] = ()
    done: tuple[ToolCall, ...] = ()

    def __init__(self, functions: list[dict[str, Any]]) -> None:
        self.functions = functions

    def open(self, touched: Iterable[Touch] = ()) -> DryTools:
        """Nothing is ever touched."""
        return self

    def begin(self, *, untrusted: bool) -> Callable[[ToolCall], ToolCall]:
        """Every call succeeds and gives nothing."""
        return lambda call: call.model_copy(update={"result": "done"})


def dry_tools(blueprint: Blueprint, name: str) -> DryTools | None:
    """The tools of a specialist's card, as the model sees them; None when it names none.

    Raises:
        ConfigError, MissingExtra: a tool cannot be made.
    """
    card = blueprint.specialists[name]
    if not card.tools:
        return None
    context = ToolContext(blueprint.folders[name], search=(lambda _: []) if card.knowledge else None)
    return DryTools(Hands(build_tools(card.tools, context)).functions)
