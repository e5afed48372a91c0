"""A person's say on a tool call: what is asked and what may be answered. Plain data; `agents/` makes the interrupt.

Shapes and words are those of LangChain's human-in-the-loop middleware, which its chat front-ends understand.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from ..core.types import ToolCall, Value

DecisionName = Literal["approve", "edit", "reject", "respond"]


class Action(Value):
    """A call that waits."""

    name: str
    args: dict[str, Any] = Field(default_factory=dict)
    description: str = ""
    """Why it waits, for the person who decides."""


class Review(Value):
    """Which answers are possible for an action."""

    action_name: str
    allowed_decisions: tuple[DecisionName, ...] = ("approve", "edit", "reject", "respond")


class ApprovalRequest(Value):
    """What an interrupt carries: actions and, in the same order, how each may be answered."""

    action_requests: tuple[Action, ...]
    review_configs: tuple[Review, ...]

    @classmethod
    def of(cls, *waiting: tuple[ToolCall, str]) -> ApprovalRequest:
        """The request for some calls, each with the reason for which it waits."""
        return cls(
            action_requests=tuple(Action(name=c.name, args=c.arguments, description=why) for c, why in waiting),
            review_configs=tuple(Review(action_name=c.name) for c, _ in waiting),
        )


class Approve(Value):
    """Run it as it is."""

    type: Literal["approve"] = "approve"


class Edit(Value):
    """Run this instead."""

    type: Literal["edit"] = "edit"
    edited_action: Action


class Reject(Value):
    """Do not run it; the model is told why."""

    type: Literal["reject"] = "reject"
    message: str = "A person rejected this call."


class Respond(Value):
    """Do not run it; this is its result."""

    type: Literal["respond"] = "respond"
    message: str


Decision = Annotated[Approve | Edit | Reject | Respond, Field(discriminator="type")]


class ApprovalResponse(Value):
    """What the graph is resumed with: one decision per action, in order."""

    decisions: tuple[Decision, ...] = Field(min_length=1)
    about: tuple[Action, ...] | None = None
    """The actions that the person saw. A run that by now asks about others (its team was changed) does not take it."""


decision = TypeAdapter[Decision](Decision)
"""Reads one decision from JSON; the source of the schema that the API and the command line show."""
