"""`/v1/workflows`: the workflows of a team, started by a request (a webhook of somebody else's, say), or by a file that
appears in a watched folder.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request, Response
from fastapi import Path as InPath
from fastapi.responses import JSONResponse

from ...agents.team import Team
from ...agents.workflows.draw import draw_plan, layers
from ...agents.workflows.execute import runs
from ...agents.workflows.files import read_plans
from ...agents.workflows.plan import Plan, WatchedFolder
from ...agents.workflows.steps import Parameter
from ...core.errors import MetierError
from ...core.types import Value
from .caller import HERE, Whoever
from .errors import ServingError
from .page import team_of
from .run_request import RunRequest, RunView
from .runs import RunService
from .workflow_runs import plans_for

workflow_routes = APIRouter(prefix="/v1/workflows", tags=["workflows"])

_log = logging.getLogger("metier.http")
_LAST_RUNS = 10
"""Runs of a workflow that are shown."""

_Name = Annotated[str, InPath(max_length=100)]


class RunInShort(Value):
    """A run of a workflow, in a line."""

    id: str
    status: str
    text: str
    seconds: float


class WorkflowView(Value):
    """A workflow, as programs and the team page see it."""

    name: str
    description: str
    examples: tuple[str, ...]
    parameters: dict[str, Parameter]
    steps: tuple[str, ...]
    mermaid: str
    """The plan as a Mermaid flowchart; the steps have the colours of the last run."""
    graph: dict[str, list[dict[str, Any]]]
    """Nodes (name, layer, kind, state) and edges (from, to, kind)."""
    runs: tuple[RunInShort, ...]
    """The caller's last ones, the latest first."""


@workflow_routes.get("")
def list_workflows(request: Request, who: Whoever) -> list[WorkflowView]:
    """The workflows of the team, and how their last runs stand."""
    team = team_of(request, who)
    known = runs(team.threads.records, who.owner) if team.threads.records else []
    return [_view(plan, [run for run in known if run.workflow == plan.name]) for plan in _plans(team)]


def _plans(team: Team) -> list[Plan]:
    try:
        return [*plans_for(team).values()]
    except MetierError as error:
        raise ServingError(422, error.message, code="wrong_workflow") from error


def _view(plan: Plan, known: list[Any]) -> WorkflowView:
    states = known[0].states if known else {}
    return WorkflowView(
        name=plan.name,
        description=plan.description,
        examples=plan.examples,
        parameters=plan.parameters,
        steps=tuple(plan.steps),
        mermaid=draw_plan(plan, states),
        graph=layers(plan, states),
        runs=tuple(
            RunInShort(id=run.run_id, status=run.status, text=run.answer.text, seconds=run.timings.get("total", 0.0))
            for run in known[:_LAST_RUNS]
        ),
    )


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
