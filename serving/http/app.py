"""The HTTP app of one team.

with Team.load("plant") as team:
    uvicorn.run(create_app(team))
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from fastapi import FastAPI, Request
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
from .langgraph_routes import langgraph_routes
from .mcp import add_mcp, mcp_running
from .openai_chat import chat_routes
from .openai_responses import response_routes
from .page import Page, page_routes
from .run_routes import run_routes
from .runs import RunService
from .shift import Shift
from .team_page import team_routes
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
    """
    state = team.blueprint.state
    records = open_records(team.card.memory.checkpoints, state)
    shift = Shift(records, team.card.name, state)
    webhooks = Webhooks(state, webhook_hosts)
    access, used = Access(team, identify=identify), UsageBook(records, lambda: team.card.limits)
    runs = RunService(team, shift, workers=workers, queue=queue, on_end=webhooks.tell, used=used)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        around = (runs.look_around, FolderWatch(runs).look, app.state.batches.look_around)
        shift.begin()
        for look in around:
            await look()
        looking = asyncio.create_task(shift.keep(*around))
        beside = asyncio.create_task(_keep_up(team))
        async with mcp_running(app):
            yield
            beside.cancel()
            with suppress(asyncio.CancelledError):
                await beside
            await app.state.batches.stop()
            await runs.drain(drain_seconds)
        looking.cancel()
        shift.end()
        records.close()
        access.close()

    app = FastAPI(
        title=f"metier: {team.card.name}", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.instance = uuid4().hex
    app.state.team, app.state.runs, app.state.webhooks = team, runs, webhooks
    app.state.batches, app.state.threads = Batches(app, shift), ThreadIndex(runs)
    install_errors(app)
    for routes in _ROUTES:
        app.include_router(routes)
    _health(app)
    add_mcp(app)
    add_a2a(app)
    add_access(app, access)
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
