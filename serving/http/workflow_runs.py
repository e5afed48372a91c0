"""What the server's runs need of workflows: admitted, begun, gone on with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...agents.team import Team
from ...agents.threads import Unfinished
from ...agents.workflows.execute import Workflow
from ...agents.workflows.files import read_plans
from ...agents.workflows.plan import Plan
from ...agents.workflows.runs import KeptRun, WorkflowRun, kept_run
from ...agents.workflows.steps import read_parameters
from ...core.errors import InputError, MetierError, StateError, unknown
from ...core.run import Emit
from ...memory.store import Owner
from ...tools.policy import Decision
from .caller import Caller
from .errors import ServingError
from .run_request import Replay, RunRequest


def plans_for(team: Team) -> dict[str, Plan]:
    """The workflows of the team; for who may see only a part of it, those that need no more.

    Raises:
        ConfigError: a file is wrong.
    """
    plans = read_plans(team.blueprint.root)
    return plans if team.whole else {name: plan for name, plan in plans.items() if _fits(plan, team, plans)}


def _fits(plan: Plan, team: Team, plans: Mapping[str, Plan]) -> bool:
    try:
        Workflow(plan, team, workflows=plans)
    except MetierError:
        return False
    return True


def workflow_named(team: Team, name: str) -> Workflow:
    """A workflow of the team, as its file is now.

    Raises:
        ServingError: 404, there is none; 422, it cannot run, for this caller at least.
    """
    try:
        plans = plans_for(team)
        found = Workflow(plans[name], team, workflows=plans) if name in plans else None
    except MetierError as error:
        raise ServingError(422, error.message, code="wrong_workflow", param="workflow") from error
    if found is None:
        raise ServingError(404, unknown("workflow", name, plans), code="workflow_not_found", param="workflow")
    return found


def admit_workflow(team: Team, asked: RunRequest, who: Caller) -> None:
    """May a run of a workflow begin?

    Raises:
        ServingError: 404, there is no such workflow, or no such earlier run; 422, it cannot run, or a parameter or a
            step is missing or wrong.
    """
    assert asked.workflow
    plan, parameters = workflow_named(team, asked.workflow).plan, asked.parameters
    if asked.replay:
        parameters = _of_the_earlier(team, plan, asked.replay, who)
    try:
        read_parameters(parameters, plan.parameters)
    except InputError as error:
        raise ServingError(422, error.message, code="wrong_parameters", param="parameters") from error


def _of_the_earlier(team: Team, plan: Plan, replay: Replay, who: Caller) -> dict[str, Any]:
    """The parameters of the run that is replayed."""
    kept = own_run(team, plan.name, replay.run, who)
    if replay.from_step not in plan.steps:
        message = unknown("step", replay.from_step, plan.steps)
        raise ServingError(422, message, code="step_not_found", param="replay.from_step")
    return {name: value for name, value in kept.run.parameters.items() if name in plan.parameters}


def own_run(team: Team, workflow: str, run_id: str, who: Caller) -> KeptRun:
    """A run of a workflow that is this caller's.

    Raises:
        ServingError: 404, there is none; another's is as if it did not exist.
    """
    kept = kept_run(team.threads, run_id)
    if kept is None or not who.owns(kept.owner) or kept.run.workflow != workflow:
        raise ServingError(404, f"there is no run '{run_id}' of workflow '{workflow}'", code="run_not_found")
    return kept


def begin_workflow(team: Team, asked: RunRequest, run_id: str, owner: Owner) -> Callable[[Emit], None]:
    """What a run of a workflow does, from its beginning."""
    assert asked.workflow
    name, replay = asked.workflow, asked.replay

    def work(emit: Emit) -> None:
        workflow = workflow_named(team, name)
        if replay:
            done = workflow.replay(replay.run, replay.from_step, to=run_id, emit=emit)
        else:
            done = workflow.run(asked.parameters, run_id, emit=emit, user=owner.user, tenant=owner.tenant)
        _check(done)

    return work


def go_on_with_workflow(team: Team, run_id: str, decisions: Sequence[Decision] = ()) -> Callable[[Emit], None]:
    """What it does from where it stands, with the plan with which it began."""

    def work(emit: Emit) -> None:
        kept = kept_run(team.threads, run_id)
        assert kept is not None  # it was found before
        workflow = Workflow(kept.plan, team, workflows=read_plans(team.blueprint.root))
        _check(workflow.resume(run_id, decisions, emit=emit))

    return work


def _check(run: WorkflowRun) -> None:
    if run.status == "failed":
        raise StateError(run.answer.text)


def workflow_left(team: Team, run_id: str) -> Unfinished | None:
    """What can go on in a run of a workflow; None where it is over."""
    kept = kept_run(team.threads, run_id)
    if kept is None or kept.run.status in ("done", "failed"):
        return None
    waiting = kept.run.waiting
    return Unfinished(run_id=run_id, questions={"waiting": waiting} if waiting else {})
