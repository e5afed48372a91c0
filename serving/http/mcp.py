"""MCP over Streamable HTTP at `/mcp`: requests of both protocol eras, each answered for whoever sent it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.routing import Route

from ...core.types import Answer
from ..mcp_server import McpQuestion, Place, mcp_server, tell
from .caller import Caller, KnownCaller, anybody
from .runs import RunService, run_request
from .stream import attached

_PATH = "/mcp"


def add_mcp(app: FastAPI) -> None:
    """Give the app its MCP endpoint. `mcp_running` must be entered while it serves."""
    service: RunService = app.state.runs

    async def ask(question: McpQuestion, ctx: Place) -> Answer:
        request = ctx.request_context.request
        assert isinstance(request, Request)
        who: Caller = request.state.caller
        task, specialist, thread = question
        run = service.start(who, run_request(task=task, specialist=specialist, thread_id=thread))
        number = 0
        with attached(service, run):
            async for event in run.follow():
                number += 1
                if event is not None:
                    await tell(event, number, ctx)
            return await run.finished()

    server = mcp_server(service.team, ask)
    # A server without users is for this machine: a page of somebody else's must not speak to it. Where there are
    # users, their keys keep such pages out, and the host is whatever the server is called.
    security = (
        None if app.state.identify is anybody else TransportSecuritySettings(enable_dns_rebinding_protection=False)
    )
    inner = server.streamable_http_app(streamable_http_path=_PATH, stateless_http=True, transport_security=security)
    app.state.mcp = server
    app.router.routes.extend(
        Route(route.path, KnownCaller(route.app), methods=None) for route in inner.routes if isinstance(route, Route)
    )


def _security(app: FastAPI) -> TransportSecuritySettings | None:
    """Whose host and origin are let in.

    A server without users is for this machine: None, MCP's own rule, lets in loopback names only, so that a page of
    somebody else's cannot speak to it. Where there are users, their keys keep such pages out, and the host is whatever
    the server is called.
    """
    if app.state.identify is anybody:
        return None
    return TransportSecuritySettings(enable_dns_rebinding_protection=False)


@asynccontextmanager
async def mcp_running(app: FastAPI) -> AsyncIterator[None]:
    """What MCP's requests need while the app serves."""
    async with app.state.mcp.session_manager.run():
        yield
