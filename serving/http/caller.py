"""Who is asking. Every route gets its caller here and nowhere else."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ...core.errors import MetierError
from ...core.types import Value
from ...memory.store import Owner
from ..options import ME
from .errors import error_response


class Caller(Value):
    """Somebody who asks over HTTP, and what they may do."""

    user: str | None
    """Whose memory is used, and whose threads and runs are shown; None keeps nothing of a person."""
    tenant: str | None = None
    groups: tuple[str, ...] = ()
    """What they may see: documents and specialists can be limited to groups."""
    scopes: tuple[str, ...] = ("ask", "read", "write", "admin")
    """`ask` the team, `read` threads and documents, `write` feedback and threads, `admin` the team itself."""

    @property
    def owner(self) -> Owner:
        """As memory and threads name them."""
        return Owner(self.user, self.tenant)


HERE = Caller(user=ME)
"""The one person at this machine: who asks a server that has no users."""

Identify = Callable[[Request], Caller | Awaitable[Caller]]
"""Says who sent a request, or raises a `ServingError` with 401 or 403."""


def anybody(request: Request) -> Caller:
    """The `Identify` of a server without users."""
    return HERE


CALLER = "metier.caller"
"""Key of a request's scope under which the server itself names whom it asks for: a batch's owner."""


async def caller(request: Request) -> Caller:
    """The dependency of every route: who asks. `create_app(identify=…)` decides."""
    if known := request.scope.get(CALLER):
        return known
    who = request.app.state.identify(request)
    return await who if inspect.isawaitable(who) else who


Whoever = Annotated[Caller, Depends(caller)]
"""The type of a route's parameter that is the caller."""


class KnownCaller:
    """Routes of others (MCP, A2A) behind the same door: lets a request through once it is known who sent it.

    They find the `Caller` in `request.state.caller`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            request.state.caller = await caller(request)
        except MetierError as error:
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)
