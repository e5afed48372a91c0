"""A workflow as a part of a conversation's turn: a run of its own, whose questions to people are the turn's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any

from langchain_core.runnables.config import var_child_runnable_config

from ...core.run import Emit, Event, check_cancelled
from ...core.types import Answer, Brief
from ..cards import fingerprint
from ..journal import GraphJournal, graph_place, listener, wait_for_decisions
from ..turn_memory import origin
from .execute import Workflow
from .perform import Colleagues
from .plan import Plan
from .runs import KIND, WorkflowRun


class RunInChat:
    """Runs plans for the turns of one team.

    Args:
        team: Who works on the steps.
        workflows: What plans may run, by name.
    """

    def __init__(self, team: Colleagues, workflows: Mapping[str, Plan]) -> None:
        self._team, self._workflows = team, workflows

    def __call__(self, plan: Plan, parameters: Mapping[str, Any], brief: Brief, emit: Emit) -> Answer:
        """Run it; where a person must decide, the turn waits, and goes on with the run where it stood.

        Raises:
            ConfigError: the plan cannot run in this team.
            InputError: a parameter is wrong.
        """
        workflow = Workflow(plan, self._team, workflows=self._workflows)
        if not graph_place() or self._team.threads.saver is None:
            return _apart(partial(workflow.run, parameters, emit=_inner(emit), durable=False)).answer
        journal, tell = GraphJournal(), _told()
        run_id, asked = fingerprint(journal.key(), plan.name), origin()
        run = _noted(journal, partial(_begin, workflow, parameters, run_id, tell, asked))
        while run.waiting:
            decisions = wait_for_decisions(run.waiting)
            if not decisions:
                reason = "a person decided about something else; ask again"
                return Answer(text=f"I could not go on: {reason}.", kind="abstain", reason=reason)
            run = _noted(journal, partial(workflow.resume, run_id, decisions, emit=tell))
        return run.answer


def _begin(
    workflow: Workflow, parameters: Mapping[str, Any], run_id: str, tell: Emit, asked: Mapping[str, str]
) -> WorkflowRun:
    """A new run; the one that this turn had begun before it was broken off, if there is one."""
    if workflow.records.get(KIND, run_id) is None:
        whose = {"user": asked.get("user_id"), "tenant": asked.get("tenant"), "within": asked.get("thread_id", "")}
        return workflow.run(parameters, run_id, emit=tell, **whose)
    run = workflow.find(run_id)
    return workflow.resume(run_id, emit=tell) if run.status == "running" else run


def _noted(journal: GraphJournal, work: Callable[[], WorkflowRun]) -> WorkflowRun:
    return WorkflowRun.model_validate(journal.once(lambda: _apart(work).model_dump(mode="json")))


def _apart(work: Callable[[], WorkflowRun]) -> WorkflowRun:
    """Not as a part of the graph that this code runs in: the run is saved under a name of its own."""
    context = copy_context()
    context.run(var_child_runnable_config.set, None)
    return context.run(work)


def _told() -> Emit:
    """Tells whoever listens to the turn, from wherever the run works."""
    listen = listener()

    def tell(event: Event) -> None:
        check_cancelled()
        listen(event)

    return _inner(tell)


def _inner(emit: Emit) -> Emit:
    """Without the run's last event: the turn has one of its own."""

    def tell(event: Event) -> None:
        if event.name not in ("answer", "waiting"):
            emit(event)

    return tell
