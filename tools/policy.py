"""May this call run, and what may a person say of it? Plain data and pure functions: no model, no clock, no network,
and no tool is loaded: the team's card holds its rules.

The idea is Meta's "Agents Rule of Two" (2025): of untrusted input, sensitive access and external effect a run may have
two; the third needs a person. Stricter than that rule, untrusted text cannot lead to a write either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from ..core.errors import unknown
from ..core.types import ToolCall, Touch, Value

Effect = Literal["read", "write", "external"]
"""`read` looks; `write` changes state that people rely on; `external` reaches outside the machine (mail, web)."""


class Effects(Value):
    """What a tool does. The defaults are the most restrictive: a tool that declares nothing is trusted with nothing."""

    effect: Effect = "external"
    untrusted_output: bool = True
    """Its result holds text that strangers may have written (web pages, e-mail, documents)."""
    sensitive: bool = True
    """Its result holds data that must not leave: personal, financial, secret."""


class TeamRules(Value):
    """What the team's owner decides for everybody; wins over every card. Patterns as in file names: `send_*`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    deny: tuple[str, ...] = ()
    """Tools that never run."""
    ask: tuple[str, ...] = ()
    """Tools that always need a person."""
    untrusted: Literal["ask", "deny"] = "ask"
    """What happens to a write or external effect once the run has read untrusted text."""


class Allow(Value):
    """Run it."""

    outcome: Literal["allow"] = "allow"


class Deny(Value):
    """Never, whatever a person says."""

    outcome: Literal["deny"] = "deny"
    reason: str
    repeated: bool = False
    """The call was made before and its result is known: hand that back instead."""


class Ask(Value):
    """Only when a person approves."""

    outcome: Literal["ask"] = "ask"
    reason: str


Decided = Allow | Deny | Ask


class RunFacts(Value):
    """What a run has been in touch with. Starts empty and only grows; `after` is the only way it changes."""

    untrusted: bool = False
    """Text that strangers may have written was read: a document, a web page, a tool's untrusted output."""
    sensitive: bool = False
    """Sensitive data was read."""
    external: bool = False
    """Something reached outside the machine."""
    seen: frozenset[str] = frozenset()
    """Keys of the calls made since the last effect: to repeat one would give the same result."""
    approved: frozenset[str] = frozenset()
    """Keys of the calls that a person approved."""

    @property
    def touched(self) -> tuple[Touch, ...]:
        """What travels with the text that this run makes."""
        here: dict[Touch, bool] = {
            "untrusted": self.untrusted,
            "sensitive": self.sensitive,
            "external": self.external,
        }
        return tuple(name for name, yes in here.items() if yes)

    def after(self, call: ToolCall, effects: Effects) -> RunFacts:
        """The facts once a call has run."""
        changes = effects.effect != "read"
        return RunFacts(
            untrusted=self.untrusted or effects.untrusted_output,
            sensitive=self.sensitive or effects.sensitive,
            external=self.external or effects.effect == "external",
            seen=frozenset() if changes else self.seen | {call_key(call)},
            approved=self.approved - {call_key(call)},
        )

    def approve(self, call: ToolCall) -> RunFacts:
        """The facts once a person approved exactly this call, for one time."""
        return self.model_copy(update={"approved": self.approved | {call_key(call)}})


class Policy(Value):
    """The rules for one specialist: what its card grants, within what the team allows."""

    granted: dict[str, Effects] = Field(default_factory=dict)
    """The tools of its card and what each does."""
    team: TeamRules = TeamRules()

    def decide(self, call: ToolCall, facts: RunFacts) -> Decided:
        """Allow, deny or ask, with the reason in words."""
        effects = self.granted.get(call.name)
        if effects is None:
            return Deny(reason=unknown("tool", call.name, self.granted))
        if matches(call.name, self.team.deny):
            return Deny(reason=f"the team does not allow {call.name}")
        if call_key(call) in facts.seen:
            return Deny(reason=f"{call.name} was already called with these arguments: use its result", repeated=True)
        tainted_effect = facts.untrusted and effects.effect != "read"
        if tainted_effect and self.team.untrusted == "deny":
            return Deny(reason=f"{call.name} would act after text from outside was read")
        if call_key(call) in facts.approved:
            return Allow()
        if matches(call.name, self.team.ask):
            return Ask(reason=f"the team wants a person to approve {call.name}")
        if tainted_effect:
            return Ask(reason=f"{call.name} would act after text from outside was read, which may have asked for it")
        after = facts.after(call, effects)
        if after.untrusted and after.sensitive and after.external:
            return Ask(reason=f"with {call.name} this run has outside text, sensitive data and an effect outside")
        return Allow()


def call_key(call: ToolCall) -> str:
    """The same for two calls that would do the same."""
    return f"{call.name} {json.dumps(call.arguments, sort_keys=True, default=str, ensure_ascii=False)}"


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Does a tool's name match one of these patterns?"""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


# A person's say on a tool call: what is asked and what may be answered. Plain data; `agents/` makes the interrupt.

DecisionName = Literal["approve", "edit", "reject", "respond"]


class Action(Value):
    """A call that waits."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # Agents of others say more.

    name: str
    args: dict[str, Any] = Field(default_factory=dict)
    description: str = ""
    """Why it waits, for the person who decides."""


class Review(Value):
    """Which answers are possible for an action."""

    model_config = ConfigDict(frozen=True, extra="ignore")

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
