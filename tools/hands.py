"""The hands of one specialist: its tools, under the policy, run by the runner. One call in, one result out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from ..core.types import ToolCall
from .policy import Allow, Policy, RunFacts
from .runner import ToolRunner
from .tool import effects_of


class Hands:
    """What a specialist may do. `begin` opens a run; what a run has touched decides what it may still do.

    A call that needs a person's approval is refused with that reason: nobody is asked in the middle of a run yet.
    """

    def __init__(self, tools: Sequence[BaseTool]) -> None:
        self._tools = {t.name: t for t in tools}
        self._policy = Policy.of(tools)
        self._runner = ToolRunner(tools)

    @property
    def functions(self) -> list[dict[str, Any]]:
        """Name, description and parameters (JSON Schema) of each tool, for the model."""
        return [convert_to_openai_tool(t)["function"] for t in self._tools.values()]

    def begin(self, *, untrusted: bool) -> Run:
        """A new run; `untrusted` when text from documents is already in front of the model."""
        return Run(self, RunFacts(untrusted=untrusted))

    def do(self, call: ToolCall, facts: RunFacts) -> tuple[ToolCall, RunFacts]:
        """The call with its result or the reason why not, and what the run has touched then."""
        decided = self._policy.decide(call, facts)
        if not isinstance(decided, Allow):
            return call.model_copy(update={"error": decided.reason}), facts
        done = self._runner.run(call)
        return done, facts.after(call, effects_of(self._tools[call.name]))


class Run:
    """One run's calls, in order."""

    def __init__(self, hands: Hands, facts: RunFacts) -> None:
        self._hands, self._facts = hands, facts

    def __call__(self, call: ToolCall) -> ToolCall:
        """Do it, or say why not in `ToolCall.error`."""
        done, self._facts = self._hands.do(call, self._facts)
        return done
