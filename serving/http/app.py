"""The HTTP app of one team.

with Team.load("plant") as team:
    uvicorn.run(create_app(team))
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from ..._version import __version__
from ...agents.team import Team
from .caller import Identify, anybody
from .documents import document_routes
from .errors import install_errors
from .openai_chat import chat_routes
from .openai_responses import response_routes
from .page import Page, page_routes
from .run_routes import run_routes
from .runs import RunService
from .team_page import team_routes

_ROUTES = (run_routes, chat_routes, response_routes, document_routes, page_routes, team_routes)


def create_app(
    team: Team, *, identify: Identify = anybody, workers: int = 8, queue: int = 64, drain_seconds: float = 30.0
) -> FastAPI:
    """The app that serves a team: its API, and the chat page at `/`.

    Args:
        team: Who answers. It must be open as long as the app runs; whoever opened it closes it.
        identify: Says who sent a request; left out: everybody is the one person at this machine.
        workers: Tasks that are worked on at the same time.
        queue: Tasks that may wait; with more, callers get 429 and when to come back.
        drain_seconds: How long tasks may go on when the server is told to end.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.runs.drain(drain_seconds)

    app = FastAPI(
        title=f"metier: {team.card.name}", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.identify, app.state.team = identify, team
    app.state.runs = RunService(team, workers=workers, queue=queue)
    install_errors(app)
    for routes in _ROUTES:
        app.include_router(routes)
    _health(app)
    app.mount("/", Page(), name="web")
    return app


def _health(app: FastAPI) -> None:
    @app.get("/health", tags=["server"])
    async def health() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok", "version": __version__}

    @app.get("/ready", tags=["server"])
    async def ready(request: Request) -> JSONResponse:
        """It takes tasks: 503 while it is about to end."""
        draining = request.app.state.runs.draining
        return JSONResponse({"status": "draining" if draining else "ready"}, 503 if draining else 200)
