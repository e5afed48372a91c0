"""What looks after a team over time, as tools for workflows: `metier.train`, `metier.evaluate`, `metier.promote`.

    with Team.load("plant") as team:
        Workflow(read_plan(SHIPPED / "retrain.yaml"), Upkeep(team)).run({"specialist": "stock"})

Only workflows that somebody starts at the command line or in Python have them: no model, no chat, nobody over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

from langchain_core.tools import BaseTool, InjectedToolArg

from ..core.errors import InputError, MissingExtra, unknown
from ..specialists.card import SpecialistCard
from ..specialists.specialist import Specialist
from ..tools.runner import ToolRunner
from ..tools.session import SpecialistTools
from ..tools.tool import tool
from .build import build
from .cards import Blueprint
from .journal import GraphJournal, ask_person
from .team import Team

UPKEEP = "metier"
"""Before the names of the tools, as a specialist's name stands before those of its own."""
_SECONDS = 86_400.0
"""How long one of these tools may take: training does."""


class Upkeep:
    """A team whose workflows may also train, evaluate and promote: what `Workflow` needs of a team.

    Args:
        team: The whole team.
        instead: Tools that take the place of those of the same name: training somewhere else, say.
    """

    def __init__(self, team: Team, instead: Sequence[BaseTool] = ()) -> None:
        self.threads, self.blueprint, self.router = team.threads, team.blueprint, team.router
        self.take = team.take
        self._team, self._instead = team, instead

    @property
    def specialists(self) -> Mapping[str, Specialist]:
        """Those of the team, and one that nobody can ask, whose tools these are."""
        return {UPKEEP: self._caretaker, **self._team.specialists}

    @cached_property
    def _caretaker(self) -> Specialist:
        own = {one.name: one for one in (*upkeep_tools(self.blueprint), *self._instead)}
        tools = SpecialistTools(
            [*own.values()],
            rules=self.blueprint.card.policy,
            runner=ToolRunner(own.values(), seconds=_SECONDS, attempts=1, ledger=self.threads.ledger),
            journal=GraphJournal(),
            ask=ask_person if self.threads.saver else None,
        )
        card = SpecialistCard(name=UPKEEP, description="Looks after the team.", style="act")
        return Specialist(card, None, tools=tools)


def upkeep_tools(blueprint: Blueprint) -> list[BaseTool]:
    """The three tools of one team. Each may be repeated: what was done already is found, and not done again."""

    @tool(effect="write", untrusted_output=False, sensitive=False)
    def train(
        specialist: str, minutes: float = 15.0, idempotency_key: Annotated[str, InjectedToolArg] = ""
    ) -> dict[str, Any]:
        """Train a challenger on a specialist's examples, if they are others than those of its newest version.

        Args:
            specialist: whose examples.
            minutes: time for training.
        """
        _check(blueprint, specialist)
        try:
            from .train import has_news, train
        except ImportError as error:
            raise MissingExtra(f"training ({error.name})", "train") from error
        if not has_news(blueprint, specialist):
            waits = blueprint.registry.state(specialist).challenger
            why = "its newest version has learnt these examples already"
            return {"new": waits is not None, "version": waits or "", "why": why}
        build(blueprint)
        version = train(blueprint, [specialist], minutes=minutes).versions[specialist]
        return {"new": True, "version": version, "why": "trained on examples that are new"}

    @tool(effect="write", untrusted_output=False, sensitive=False)
    def evaluate(specialist: str, idempotency_key: Annotated[str, InjectedToolArg] = "") -> dict[str, Any]:
        """Evaluate a specialist's challenger against what is in use, on its own questions; nothing is promoted.

        Args:
            specialist: whose challenger.
        """
        _check(blueprint, specialist)
        verdict = next((one for one in build(blueprint, gate="hold").gate if one.specialist == specialist), None)
        if verdict is None:
            return {"better": False, "version": "", "why": "there is no challenger that could be evaluated here"}
        return {"better": verdict.better, "version": verdict.challenger, "why": verdict.measured}

    @tool(effect="write", untrusted_output=False, sensitive=False)
    def promote(
        specialist: str, version: str, why: str, idempotency_key: Annotated[str, InjectedToolArg] = ""
    ) -> dict[str, Any]:
        """Put a version of a specialist in use: the team works with it when it is loaded anew, or refreshed.

        Args:
            specialist: whose version.
            version: its id.
            why: for the registry.
        """
        _check(blueprint, specialist)
        if blueprint.registry.state(specialist).champion != version:
            blueprint.registry.promote(specialist, version, why)
        return {"specialist": specialist, "version": version}

    return [train, evaluate, promote]


def _check(blueprint: Blueprint, specialist: str) -> None:
    if specialist not in blueprint.specialists:
        raise InputError(unknown("specialist", specialist, blueprint.specialists))
