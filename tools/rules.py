"""What a team's owner decides about tools. Plain data that the team's card holds; loads no tool."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from ..core.types import Value


class TeamRules(Value):
    """What the team's owner decides for everybody; wins over every card. Patterns as in file names: `send_*`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    deny: tuple[str, ...] = ()
    """Tools that never run."""
    ask: tuple[str, ...] = ()
    """Tools that always need a person."""
    untrusted: Literal["ask", "deny"] = "ask"
    """What happens to a write or external effect once the run has read untrusted text."""
