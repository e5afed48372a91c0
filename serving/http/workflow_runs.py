"""What the server's runs need of workflows: admitted, begun, gone on with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...agents.team import Team
from ...agents.threads import Unfinished
from ...agents.workflows.execute import KIND, Workflow, WorkflowRun
from ...agents.workflows.files import read_plans
from ...agents.workflows.plan import Plan
from ...agents.workflows.steps import read_parameters
from ...core.errors import InputError, MetierError, StateError, unknown
from ...core.run import Emit
from ...memory.store import Owner
from ...tools.policy import Decision
from .errors import ServingError


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


def admit_workflow(team: Team, name: str, parameters: Mapping[str, Any]) -> None:
    """May a run of a workflow begin?

    Raises:
        ServingError: 404, there is none; 422, it cannot run, or a parameter is missing or wrong.
    """
    plan = workflow_named(team, name).plan
    try:
        read_parameters(parameters, plan.parameters)
    except InputError as error:
        raise ServingError(422, error.message, code="wrong_parameters", param="parameters") from error


def begin_workflow(
    team: Team, name: str, parameters: Mapping[str, Any], run_id: str, owner: Owner
) -> Callable[[Emit], None]:
    """What a run of a workflow does, from its beginning."""

    def work(emit: Emit) -> None:
        done = workflow_named(team, name).run(parameters, run_id, emit=emit, user=owner.user, tenant=owner.tenant)
        _check(done)

    return work


def go_on_with_workflow(team: Team, run_id: str, decisions: Sequence[Decision] = ()) -> Callable[[Emit], None]:
    """What it does from where it stands, with the plan with which it began."""

    def work(emit: Emit) -> None:
        records = team.threads.records
        record = records.get(KIND, run_id) if records else None
        assert record is not None  # it was found before
        plan = Plan.model_validate(record.body["plan"])
        workflow = Workflow(plan, team, workflows=read_plans(team.blueprint.root))
        _check(workflow.resume(run_id, decisions, emit=emit))

    return work


def _check(run: WorkflowRun) -> None:
    if run.status == "failed":
        raise StateError(run.answer.text)


def workflow_state(team: Team, run_id: str) -> WorkflowRun | None:
    """How a run of a workflow stands; None where none has begun."""
    record = team.threads.records.get(KIND, run_id) if team.threads.records else None
    return WorkflowRun.model_validate(record.body["run"]) if record else None


def workflow_left(team: Team, run_id: str) -> Unfinished | None:
    """What can go on in a run of a workflow; None where it is over."""
    run = workflow_state(team, run_id)
    if run is None or run.status in ("done", "failed"):
        return None
    return Unfinished(run_id=run_id, questions={"waiting": run.waiting} if run.waiting else {})
