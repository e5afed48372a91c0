"""The HTTP app of one team.

with Team.load("plant") as team:
    uvicorn.run(create_app(team))
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse

from ..._version import __version__
from ...agents.retention import retain
from ...agents.team import Team
from ...core.errors import MetierError
from ...memory.open import open_records
from ..usage import UsageBook
from .a2a import add_a2a
from .access import Access, add_access
from .agui import agui_routes
from .batch_routes import Batches, batch_routes
from .caller import Identify
from .documents import document_routes
from .errors import install_errors
from .follow import Follower
from .langgraph_routes import langgraph_routes
from .mcp import add_mcp, mcp_running
from .metrics import add_metrics
from .openai_chat import chat_routes
from .openai_responses import response_routes
from .page import Page, page_routes
from .run import Run
from .run_routes import run_routes
from .runs import RunService
from .shift import Shift
from .team_page import team_routes
from .telemetry import FollowCaller, Telemetry
from .threads import ThreadIndex
from .webhooks import Webhooks
from .workflow_routes import FolderWatch, workflow_routes

_log = logging.getLogger(__name__)

_LOOK_SECONDS, _TIDY_SECONDS = 2.0, 86_400.0
"""How often a server looks for trials that began or ended elsewhere, and forgets what is old."""
_ROUTES = (
    run_routes,
    chat_routes,
    response_routes,
    batch_routes,
    langgraph_routes,
    document_routes,
    agui_routes,
    page_routes,
    team_routes,
    workflow_routes,
)


def create_app(
    team: Team,
    *,
    identify: Identify | None = None,
    workers: int = 8,
    queue: int = 64,
    drain_seconds: float = 30.0,
    webhook_hosts: Collection[str] = (),
    origins: Collection[str] = (),
    telemetry: Telemetry | None = None,
    follow: Callable[[str], None] | None = None,
) -> FastAPI:
    """The app that serves a team: its API, and the chat page at `/`.

    Args:
        team: Who answers. It must be open as long as the app runs; whoever opened it closes it.
        identify: Says who sent a request; left out: the team's users (`metier users`), and while there are none
            everybody is the one person at this machine.
        workers: Tasks that are worked on at the same time.
        queue: Tasks that may wait; with more, callers get 429 and when to come back.
        drain_seconds: How long tasks may go on when the server is told to end.
        webhook_hosts: Hosts of the local network that may be told of a run's end; public ones always may.
        origins: Pages of other servers that may use this one (`https://intranet.example`); left out: none may.
        telemetry: Is told of each run; left out: nobody is.
        follow: Build anew whenever documents change, and tell this in words of it; left out: who works stays.
    """
    state = team.blueprint.state
    records = open_records(team.card.memory.checkpoints, state)
    shift = Shift(records, team.card.name, state)
    webhooks = Webhooks(state, webhook_hosts)
    access, used = Access(team, identify=identify, origins=origins), UsageBook(records, lambda: team.card.limits)
    runs = RunService(team, shift, workers=workers, queue=queue, on_end=webhooks.tell, used=used)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _on_shift(app, shift), mcp_running(app), _beside(app, team, follow):
            yield
            await app.state.batches.stop()
            await runs.drain(drain_seconds)
        records.close()
        access.close()

    title = f"metier: {team.card.name}"
    app = FastAPI(title=title, version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.instance = uuid4().hex
    app.state.team, app.state.runs, app.state.webhooks = team, runs, webhooks
    app.state.batches, app.state.threads, app.state.follower = Batches(app, shift), ThreadIndex(runs), None
    install_errors(app)
    for routes in _ROUTES:
        app.include_router(routes)
    _health(app)
    add_mcp(app)
    add_a2a(app)
    add_access(app, access)
    add_metrics(app, runs)  # outside the gate: who was turned away counts, too
    _tell(app, telemetry)
    _allow(app, origins)
    app.mount("/", Page(), name="web")
    return app


async def _keep_up(team: Team) -> None:
    """As long as the server runs: take part in trials, and once a day forget what is old."""
    tidied: float | None = None
    while True:
        try:
            await asyncio.to_thread(_take_part, team)
            if tidied is None or time.monotonic() - tidied > _TIDY_SECONDS:
                tidied = time.monotonic()
                await asyncio.to_thread(_tidy, team)
        except (MetierError, OSError) as error:
            _log.warning("what a server does beside its tasks failed, and is tried again: %s", error)
        await asyncio.sleep(_LOOK_SECONDS)


def _take_part(team: Team) -> None:
    """Load the challengers that are on trial, and let go of others."""
    if team.trials is None:
        return
    with team.present() as loaded:
        known = {one.trial.id for one in loaded.on_trial.values()}
    if {trial.id for trial in team.trials.running()} != known:
        team.refresh()


def _tidy(team: Team) -> None:
    if team.trials:
        for trial in team.trials.running():
            team.trials.judge(trial.specialist)
    if retain(team.blueprint).router_fitted:
        team.refresh()


def _health(app: FastAPI) -> None:
    @app.get("/health", tags=["server"])
    async def health() -> dict[str, str | int]:
        """The process lives; `active` tasks wait or are worked on, `instance` names it."""
        state = app.state
        return {"status": "ok", "version": __version__, "active": state.runs.active, "instance": state.instance}

    @app.get("/ready", tags=["server"])
    async def ready(request: Request) -> JSONResponse:
        """It takes tasks: 503 while it is about to end."""
        draining = request.app.state.runs.draining
        return JSONResponse({"status": "draining" if draining else "ready"}, 503 if draining else 200)


@asynccontextmanager
async def _on_shift(app: FastAPI, shift: Shift) -> AsyncIterator[None]:
    """This server does its part of the team's work inside the block."""
    runs = app.state.runs
    around = (runs.look_around, FolderWatch(runs).look, app.state.batches.look_around)
    shift.begin()
    for look in around:
        await look()
    looking = asyncio.create_task(shift.keep(*around))
    yield
    looking.cancel()
    shift.end()


@asynccontextmanager
async def _beside(app: FastAPI, team: Team, say: Callable[[str], None] | None) -> AsyncIterator[None]:
    """What goes on beside the tasks inside the block: `_keep_up`, and following the documents if anybody wants it."""
    follower = app.state.follower = Follower(team, say) if say else None
    keeping, following = asyncio.create_task(_keep_up(team)), follower and asyncio.create_task(follower.run())
    try:
        yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        if follower and following:
            follower.end()
            await following


def _tell(app: FastAPI, telemetry: Telemetry | None) -> None:
    """Runs to telemetry."""
    if telemetry is None:
        return
    team: Team = app.state.team

    def ended(run: Run) -> None:
        known: dict[str, Any] = {"metier.run.id": run.id, "metier.run.status": run.status}
        known["gen_ai.conversation.id"] = run.thread_id
        if run.answer and (route := run.answer.route):
            known |= {"metier.route.decision": route.decision, "metier.route.confidence": route.confidence}
            known["metier.route.specialists"] = [part.specialist for part in route.parts]
        telemetry.tell(run.trace, team.card.name, known, run.error)

    app.state.runs.on_ended.append(ended)
    app.add_middleware(FollowCaller)


def _allow(app: FastAPI, origins: Collection[str]) -> None:
    """Browsers let pages of these origins read what this server says."""
    if not origins:
        return
    shown = ["Content-Location", "Location", "Retry-After"]
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=shown,
    )
