"""The tools of one specialist, under the policy, run by the runner. One call in, one result out."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from ..core.errors import ToolUnreachable
from ..core.run import Journal, Unkept
from ..core.types import ToolCall, Touch
from .policy import (
    Allow,
    Approve,
    Ask,
    Decided,
    Decision,
    Deny,
    Edit,
    Effects,
    Policy,
    Reject,
    Respond,
    RunFacts,
    TeamRules,
    call_key,
)
from .runner import ToolRunner, takes_key
from .tool import RecognisingTool, effects_of

AskPerson = Callable[[ToolCall, str], Decision]
"""Asks a person about a call, with the reason. May end the run here; it then goes on with the decision later."""
ResultCheck = Callable[[ToolCall], ToolCall]
"""Looks at a result that strangers may have written, and takes out what tries to give orders."""


class SpecialistTools:
    """What a specialist may do; lasts as long as its team. `open` begins the work on one brief."""

    def __init__(
        self,
        tools: Sequence[BaseTool],
        *,
        dry: bool = False,
        rules: TeamRules | None = None,
        runner: ToolRunner | None = None,
        journal: Journal | None = None,
        ask: AskPerson | None = None,
        check: ResultCheck | None = None,
    ) -> None:
        """What may be done with `tools`.

        Args:
            dry: Tools that look real to the model and do nothing: an evaluation must not send, write or order anything.
                Every call succeeds; nothing else is needed.
            rules: What the team's owner decided; wins over the card.
            runner: Runs the calls; left out: one with its own limits and a ledger in memory.
            journal: Keeps what was done, for runs that are interrupted.
            ask: Asks a person; left out: what needs one is refused.
            check: Looks at untrusted results before the model does.
        """
        self.functions: list[dict[str, Any]] = [convert_to_openai_tool(t)["function"] for t in tools]
        """Name, description and parameters (JSON Schema) of each tool, for the model."""
        self.recognisers = {t.name: t.recognise for t in tools if isinstance(t, RecognisingTool)}
        """What reads a whole call out of a task, by the tool's name."""
        self.effects = {t.name: effects_of(t) for t in tools}
        self.repeatable = frozenset(t.name for t in tools if takes_key(t))
        """Tools for which the same call twice is one effect."""
        self.policy = Policy(granted=self.effects, team=rules or TeamRules())
        self.runner = None if dry else runner or ToolRunner(tools)
        """None where calls are only noted."""
        self.journal = journal or Unkept()
        self.ask, self.check = ask, check

    def open(self, touched: Iterable[Touch] = ()) -> ToolSession:
        """Begin to work on a brief, whose text has been in touch with `touched` already."""
        if self.runner is None:
            return _DrySession(self)
        return _LiveSession(self, self.runner, RunFacts(**dict.fromkeys(touched, True)))


class WaitingTools:
    """The tools of a specialist whose server does not answer: asked for again when there is work.

    Args:
        make: Makes them, or raises `ToolUnreachable`.
        why: Why they could not be made at first.
        rest: Seconds after which they are asked for again, at the earliest.
    """

    def __init__(self, make: Callable[[], SpecialistTools], why: ToolUnreachable, *, rest: float = 10.0) -> None:
        self._make, self._why, self._rest = make, why, rest
        self._made: SpecialistTools | None = None
        self._again, self._lock = monotonic() + rest, threading.Lock()

    @property
    def functions(self) -> list[dict[str, Any]]:
        """Of the tools, once they are there."""
        return self._made.functions if self._made else []

    @property
    def effects(self) -> dict[str, Effects]:
        """Of the tools, once they are there."""
        return self._made.effects if self._made else {}

    @property
    def repeatable(self) -> frozenset[str]:
        """Those for which the same call twice is one effect, once they are there."""
        return self._made.repeatable if self._made else frozenset()

    def open(self, touched: Iterable[Touch] = ()) -> ToolSession:
        """Begin to work on a brief.

        Raises:
            ToolUnreachable: the server still does not answer.
        """
        with self._lock:
            if self._made is None:
                self._made = self._try()
            return self._made.open(touched)

    def _try(self) -> SpecialistTools:
        if monotonic() < self._again:
            raise self._why
        try:
            return self._make()
        except ToolUnreachable as error:
            self._why, self._again = error, monotonic() + self._rest
            raise


class ToolSession(ABC):
    """The calls of one brief, in order."""

    def __init__(self, tools: SpecialistTools) -> None:
        self.functions = tools.functions
        """Name, description and parameters (JSON Schema) of each tool, for the model."""
        self._recognisers = tools.recognisers
        self._done: list[ToolCall] = []

    @property
    def done(self) -> tuple[ToolCall, ...]:
        """The calls that were made until now."""
        return tuple(self._done)

    def recognised(self, task: str) -> ToolCall | None:
        """The call that a tool reads out of the task by itself: nothing is left for a model to decide."""
        for name, recognise in self._recognisers.items():
            if (arguments := recognise(task)) is not None:
                return ToolCall(name=name, arguments=arguments)
        return None

    @property
    @abstractmethod
    def touched(self) -> tuple[Touch, ...]:
        """What the run has been in touch with until now."""

    @abstractmethod
    def begin(self, *, untrusted: bool) -> ToolSession:
        """Say whether text from documents is in front of the model already; the calls may begin."""

    @abstractmethod
    def __call__(self, call: ToolCall) -> ToolCall:
        """Do it, or say why not in `ToolCall.error`.

        It may end the run with an exception that is none of metier's errors: it goes on when a person has decided.
        """


class _DrySession(ToolSession):
    """Calls are noted, and that is all."""

    @property
    def touched(self) -> tuple[Touch, ...]:
        return ()

    def begin(self, *, untrusted: bool) -> ToolSession:
        return self

    def __call__(self, call: ToolCall) -> ToolCall:
        done = call.model_copy(update={"result": "done"})
        self._done.append(done)
        return done


class _LiveSession(ToolSession):
    """What the calls touch decides what may still be done."""

    def __init__(self, tools: SpecialistTools, runner: ToolRunner, facts: RunFacts) -> None:
        super().__init__(tools)
        self._tools, self._runner, self._facts, self._key = tools, runner, facts, tools.journal.key()
        self._replaced: dict[str, ToolCall] = {}
        """Calls that a person changed, by key: what was done instead."""

    @property
    def touched(self) -> tuple[Touch, ...]:
        return self._facts.touched

    def begin(self, *, untrusted: bool) -> ToolSession:
        self._facts = self._facts.model_copy(update={"untrusted": self._facts.untrusted or untrusted})
        return self

    def __call__(self, call: ToolCall) -> ToolCall:
        """A call that was made, or changed by a person, gives its result."""
        call = ToolCall(name=call.name, arguments=call.arguments)
        if instead := self._replaced.get(call_key(call)):
            return instead
        decided = self._tools.policy.decide(call, self._facts)
        if isinstance(decided, Ask):
            return self._do_asked(call, decided.reason)
        return self._do_decided(call, decided)

    def _do_asked(self, call: ToolCall, why: str) -> ToolCall:
        wanted, settled = self._ask(call, why)
        if settled:
            self._done.append(settled)
            return settled
        self._facts = self._facts.approve(wanted)
        done = self._do_decided(wanted, self._tools.policy.decide(wanted, self._facts), asked=True)
        if wanted != call:
            self._replaced[call_key(call)] = done
        return done

    def _do_decided(self, call: ToolCall, decided: Decided, *, asked: bool = False) -> ToolCall:
        if isinstance(decided, Deny) and decided.repeated:
            return next(c for c in reversed(self._done) if call_key(c) == call_key(call))
        if not isinstance(decided, Allow):
            return call.model_copy(update={"error": decided.reason})
        return self._do(call, binding=asked or self._tools.effects[call.name].effect != "read")

    def _ask(self, call: ToolCall, why: str) -> tuple[ToolCall, ToolCall | None]:
        """The call that a person wants to run, and what came of it when it is not to run at all."""
        if self._tools.ask is None:
            return call, call.model_copy(update={"error": f"{why}; nobody can be asked here"})
        match self._tools.ask(call, why):
            case Approve():
                return call, None
            case Edit(edited_action=action):
                return ToolCall(name=action.name, arguments=action.args), None
            case Reject(message=message):
                return call, call.model_copy(update={"error": message})
            case Respond(message=message):
                return call, call.model_copy(update={"result": message, "binding": True})

    def _do(self, call: ToolCall, *, binding: bool) -> ToolCall:
        # Effects are counted by what has surely happened: the same call after a failure is the same effect tried again.
        good = sum(call_key(c) == call_key(call) and c.error is None for c in self._done)
        key, done = f"{self._key}/{good}", None
        while done is None and self._tools.ask and self._runner.unsettled(call, key):
            wanted, done = self._ask(call, f"{call.name} was begun earlier, and nobody knows whether it happened")
            if wanted != call:
                self._facts = self._facts.approve(wanted)
                return self(wanted)
            key += "+"  # a person wants it again: that is another effect
        if done is None:
            done = ToolCall.model_validate(self._tools.journal.once(lambda: self._run(call, key).model_dump()))
            done = done.model_copy(update={"binding": binding})
        self._facts = self._facts.after(call, self._tools.effects[call.name])
        self._done.append(done)
        return done

    def _run(self, call: ToolCall, key: str) -> ToolCall:
        done = self._runner.run(call, key=key)
        if self._tools.check is None or not self._tools.effects[call.name].untrusted_output:
            return done
        return self._tools.check(done)
