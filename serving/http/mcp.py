"""MCP over Streamable HTTP at `/mcp`: requests of both protocol eras, each answered for whoever sent it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from fastapi import FastAPI
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ...core.types import Answer
from ..mcp_server import AskTeam, McpQuestion, Place, mcp_server, tell
from .caller import caller
from .run_request import run_request
from .runs import RunService
from .stream import attached

_PATH = "/mcp"
_MOST_KINDS = 64
"""Kinds of callers for whom a server is kept open."""


def add_mcp(app: FastAPI) -> None:
    """Give the app its MCP endpoint. `mcp_running` must be entered while it serves."""
    service: RunService = app.state.runs

    async def ask(question: McpQuestion, ctx: Place) -> Answer:
        request = ctx.request_context.request
        assert isinstance(request, Request)
        who = caller(request)
        task, specialist, thread = question
        run = service.start(who, run_request(task=task, specialist=specialist, thread_id=thread))
        number = 0
        with attached(service, run):
            async for event in run.follow():
                number += 1
                if event is not None:
                    await tell(event, number, ctx)
            return await run.finished()

    app.state.mcp = _Servers(service, ask)
    app.router.routes.append(Route(_PATH, app.state.mcp, methods=None))


class _Kind(NamedTuple):
    """What decides what a caller finds."""

    groups: frozenset[str] | None
    asks: bool
    reads: bool
    team: str
    """Tells states of the team apart."""


class _Servers:
    """An MCP server for each kind of caller: what somebody may not use is not in its lists.

    Hosts and origins are the gate's business (`access.py`).
    """

    def __init__(self, service: RunService, ask: AskTeam) -> None:
        self._service, self._ask = service, ask
        self._open: OrderedDict[_Kind, tuple[asyncio.Future[ASGIApp], asyncio.Task[None]]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        who = caller(Request(scope))
        groups = None if who.groups is None else frozenset(who.groups)
        with self._service.team.present() as loaded:
            kind = _Kind(groups, "ask" in who.scopes, "read" in who.scopes, loaded.stamp)
        if kind not in self._open:
            ready = asyncio.get_running_loop().create_future()
            self._open[kind] = ready, asyncio.create_task(self._serve(kind, ready))
            if len(self._open) > _MOST_KINDS:
                self._open.popitem(last=False)[1][1].cancel()
        self._open.move_to_end(kind)
        inner = await asyncio.shield(self._open[kind][0])
        # Blanks around a header's value do not count, but uvicorn leaves them there and the server compares.
        plain = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await inner({**scope, "headers": plain}, receive, send)

    async def _serve(self, kind: _Kind, ready: asyncio.Future[ASGIApp]) -> None:
        try:
            team = self._service.team.seen_by(kind.groups)
            server = mcp_server(team, self._ask if kind.asks else None, reads=kind.reads)
            anywhere = TransportSecuritySettings(enable_dns_rebinding_protection=False)
            inner = server.streamable_http_app(
                streamable_http_path=_PATH, stateless_http=True, transport_security=anywhere
            )
            async with server.session_manager.run():
                ready.set_result(inner)
                await asyncio.Event().wait()
        except Exception as error:
            ready.set_exception(error)

    async def close(self) -> None:
        """End all of them."""
        tasks = [task for _, task in self._open.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@asynccontextmanager
async def mcp_running(app: FastAPI) -> AsyncIterator[None]:
    """What MCP's requests need while the app serves."""
    yield
    await app.state.mcp.close()
