"""`/v1/workflows`: the workflows of a team, started by a request (a webhook of somebody else's, say), or by a file that
appears in a watched folder; and their runs, step by step, with the files that were written.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse

from ...agents.team import Team
from ...agents.workflows.draw import draw_plan, layers
from ...agents.workflows.files import read_plans
from ...agents.workflows.perform import known_of
from ...agents.workflows.plan import Plan, WatchedFolder
from ...agents.workflows.results import File, all_files
from ...agents.workflows.runs import KeptRun, Trouble, WorkflowRun, kept_run, kept_runs
from ...agents.workflows.steps import Parameter
from ...core.errors import MetierError
from ...core.types import Value
from ...memory.store import Owner
from .caller import HERE, Whoever
from .errors import ServingError
from .page import team_of
from .run import Run
from .run_request import RunRequest, RunStatus, RunView
from .runs import RunService
from .workflow_runs import own_run, plans_for, workflow_named

workflow_routes = APIRouter(prefix="/v1/workflows", tags=["workflows"])

_log = logging.getLogger("metier.http")
_LAST_RUNS = 10
"""Runs of a workflow that are shown."""

_Name = Annotated[str, InPath(max_length=100)]
_STANDING: dict[RunStatus, str] = {
    "queued": "queued", "in_progress": "running", "requires_action": "waiting", "completed": "done",
    "failed": "failed", "cancelled": "cancelled",
}  # fmt: skip
"""How a run of the server stands, in the words of workflows."""


class RunInShort(Value):
    """A run of a workflow, in a line."""

    id: str
    status: str
    text: str
    seconds: float
    at: float
    """When it began, seconds since 1970."""


class WorkflowView(Value):
    """A workflow, as programs and the team page see it."""

    name: str
    description: str
    examples: tuple[str, ...]
    parameters: dict[str, Parameter]
    parameters_schema: dict[str, Any]
    """The same as JSON Schema."""
    steps: tuple[str, ...]
    mermaid: str
    """The plan as a Mermaid flowchart; the steps have the colours of the last run."""
    graph: dict[str, list[dict[str, Any]]]
    """Nodes (name, layer, kind, about, steps, state) and edges (from, to, kind); what others imply is left out."""
    faults: tuple[str, ...] = ()
    """Why it cannot run; empty where it can."""
    runs: tuple[RunInShort, ...]
    """The caller's last ones, the latest first."""


@workflow_routes.get("")
def list_workflows(request: Request, who: Whoever) -> list[WorkflowView]:
    """The workflows of the team, and how their last runs stand."""
    team = team_of(request, who)
    whose = who.owner if who.groups is not None else None  # who has the team itself has what is nobody's, too
    kept = kept_runs(team.threads.records, whose) if team.threads.records else []
    kept = [one for one in kept if who.owns(one.owner)]
    plans = _plans(team)
    known = known_of(team, {plan.name: plan for plan in plans})
    faults = {plan.name: tuple(str(fault) for fault in plan.check(known) if fault.blocking) for plan in plans}
    return [_view(plan, [one for one in kept if one.run.workflow == plan.name], faults[plan.name]) for plan in plans]


def _plans(team: Team) -> list[Plan]:
    try:
        return [*plans_for(team).values()]
    except MetierError as error:
        raise ServingError(422, error.message, code="wrong_workflow") from error


def _view(plan: Plan, kept: list[KeptRun], faults: tuple[str, ...]) -> WorkflowView:
    states = kept[0].run.states if kept else {}
    return WorkflowView(
        name=plan.name,
        description=plan.description,
        examples=plan.examples,
        parameters=plan.parameters,
        parameters_schema=plan.parameters_schema,
        steps=tuple(plan.steps),
        mermaid=draw_plan(plan, states),
        graph=layers(plan, states),
        faults=faults,
        runs=tuple(_in_short(*one) for one in kept[:_LAST_RUNS]),
    )


def _in_short(run: WorkflowRun, plan: Plan, owner: Owner, at: float) -> RunInShort:
    seconds = run.timings.get("total", 0.0)
    text = run.result.name if isinstance(run.result, File) else run.answer.text
    return RunInShort(id=run.run_id, status=run.status, text=text, seconds=seconds, at=at)


class WorkflowRunView(Value):
    """A run of a workflow, with the plan with which it began."""

    run: WorkflowRun
    """Of one that is still at work, with the results so far."""
    status: str
    """`queued`, `running`, `waiting`, `done`, `failed` or `cancelled`."""
    at: float
    """When it began, seconds since 1970."""
    graph: dict[str, list[dict[str, Any]]]
    """As of a workflow, with the states of this run."""
    description: str


@workflow_routes.get("/{name}/runs/{run_id}")
async def show_workflow_run(name: _Name, run_id: _Name, request: Request, who: Whoever) -> WorkflowRunView:
    """A run of a workflow as it stands: what each step gave, what waits for a person, and its plan.

    `/v1/runs/{id}/events` tells what its steps do, `/v1/runs/{id}/resume` goes on with it.
    """
    service: RunService = request.app.state.runs
    team = team_of(request, who)
    try:
        ours = service.get(who, run_id)
    except ServingError:  # a command is at work on it, or a conversation, or there is none
        ours = None
    status = _STANDING[ours.status] if ours else ""
    if ours and ours.asked.workflow == name and not await asyncio.to_thread(kept_run, team.threads, run_id):
        run, plan, _, at = await asyncio.to_thread(_not_begun, team, name, ours)
    else:
        run, plan, _, at = await asyncio.to_thread(own_run, team, name, run_id, who)
    if status in ("queued", "running"):
        run = run.model_copy(update={"status": "running", "waiting": None})  # what it waited for was decided
    graph = layers(plan, run.states)
    return WorkflowRunView(run=run, status=status or run.status, at=at, graph=graph, description=plan.description)


def _not_begun(team: Team, name: str, run: Run) -> KeptRun:
    """A run that waits for its turn, or that ended before its first step."""
    error = run.view.error
    trouble = (Trouble(step=name, reason=error["message"]),) if error else ()
    status = "failed" if run.ended else "running"
    given = {"run_id": run.id, "workflow": name, "status": status, "parameters": run.asked.parameters}
    return KeptRun(
        WorkflowRun(**given, trouble=trouble), workflow_named(team, name).plan, run.caller.owner, run.created_at
    )


@workflow_routes.get("/{name}/runs/{run_id}/files", response_class=FileResponse)
def get_run_file(
    name: _Name, run_id: _Name, path: Annotated[str, Query(max_length=1000)], request: Request, who: Whoever
) -> FileResponse:
    """A file that a step of the run wrote, by the `path` of its result; to be saved and never to be run."""
    team = team_of(request, who)
    kept = own_run(team, name, run_id, who)
    files = {one.path: one for result in kept.run.results.values() for one in all_files(result)}
    output, place = (team.blueprint.state / "output").resolve(), Path(path).resolve()
    # A tool may name any file of this machine; only what lies where runs write is given away.
    ours = place.parent == output or place.is_relative_to(output / kept.run.thread_id)
    if path not in files or not ours or not place.is_file():
        raise ServingError(404, f"run '{run_id}' has no file '{path}'", code="file_not_found", param="path")
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return FileResponse(place, media_type=files[path].media, filename=place.name, headers=headers)


@workflow_routes.post("/{name}", response_model=RunView, status_code=202)
async def start_workflow(
    name: _Name,
    parameters: Annotated[dict[str, Any], Body()],
    request: Request,
    who: Whoever,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Start a workflow: the body is its parameters, so that a webhook of another program may point here."""
    service: RunService = request.app.state.runs
    run = service.start(who, RunRequest.of_workflow(name, parameters), key=idempotency_key, durable=True)
    return JSONResponse(run.view.model_dump(mode="json"), 202, {"Location": f"/v1/runs/{run.id}"})


class FolderWatch:
    """Starts the workflows of a team for files that appear in the folders that they watch, once for each file.

    A file counts when two looks at it, one after the other, see the same size: then nobody writes it any more.
    """

    def __init__(self, service: RunService) -> None:
        self._service = service
        self._sizes = dict[Path, tuple[int, int]]()
        self._started = set[str]()

    async def look(self) -> None:
        """Look once into all folders."""
        root = self._service.team.blueprint.root
        try:
            found = await asyncio.to_thread(self._ready, root)
        except MetierError as error:
            _log.error("watched folders: %s", error.message)
            return
        for plan, watch, path in found:
            stat = path.stat()
            key = f"file {path.name} {stat.st_size} {stat.st_mtime_ns} {plan.name}"
            if key in self._started:
                continue
            asked = RunRequest.of_workflow(plan.name, {watch.parameter: str(path)})
            try:
                self._service.start(HERE, asked, key=key)  # the key keeps what was started before this server, too
                self._started.add(key)
            except ServingError as error:
                _log.warning("workflow %s for %s: %s", plan.name, path, error)

    def _ready(self, root: Path) -> list[tuple[Plan, WatchedFolder, Path]]:
        plans = [(plan, plan.watch) for plan in read_plans(root).values() if plan.watch]
        seen = dict[Path, tuple[int, int]]()
        ready = list[tuple[Plan, WatchedFolder, Path]]()
        for plan, watch in plans:
            for path in sorted((root / watch.folder).glob(watch.pattern)):
                if path.is_file():
                    stat = path.stat()
                    seen[path] = (stat.st_size, stat.st_mtime_ns)
                    ready += [(plan, watch, path)] if self._sizes.get(path) == seen[path] else []
        self._sizes = seen
        return ready
