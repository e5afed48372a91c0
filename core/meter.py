"""The budget of a run while it is being spent."""

from __future__ import annotations

from time import monotonic

from .errors import BudgetExceeded
from .types import Budget, Usage


class Meter:
    """Counts what a specialist spends of its brief's budget. Not shared between threads.

    Raises:
        BudgetExceeded: from `check` and `spend`, when steps, tokens or seconds are used up.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.usage = Usage()
        self.steps = 0
        self._start = monotonic()

    def check(self, tokens: int = 0) -> None:
        """May another step that needs about `tokens` tokens begin?"""
        spent = self.usage.input_tokens + self.usage.output_tokens
        if self.steps >= self.budget.steps:
            raise BudgetExceeded(f"{self.steps} of {self.budget.steps} steps are used up")
        if spent + tokens > self.budget.tokens:
            raise BudgetExceeded(f"the next step needs {tokens} tokens, {max(0, self.budget.tokens - spent)} are left")
        if monotonic() - self._start > self.budget.seconds:
            raise BudgetExceeded(f"{self.budget.seconds:.1f} seconds are used up")

    def spend(self, usage: Usage) -> None:
        """Count one step and its tokens."""
        self.steps += 1
        self.usage += usage

    def rest(self, *, handoffs: int = 0) -> Budget:
        """What is left, for the next specialist; `handoffs` of them are taken off."""
        spent = self.usage.input_tokens + self.usage.output_tokens
        return Budget(
            steps=max(0, self.budget.steps - self.steps),
            tokens=max(0, self.budget.tokens - spent),
            seconds=max(0.0, self.budget.seconds - (monotonic() - self._start)),
            handoffs=max(0, self.budget.handoffs - handoffs),
        )
