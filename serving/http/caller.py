"""Who is asking. Every route gets its caller here; the gate (`access.py`) has found out who it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from ...core.types import Value
from ...memory.store import Owner
from ..accounts import SCOPES, AccessScope
from ..options import ME
from .errors import ServingError


class Caller(Value):
    """Somebody who asks over HTTP, and what they may do."""

    user: str | None
    """Whose memory is used, and whose threads and runs are shown; None keeps nothing of a person."""
    tenant: str | None = None
    groups: tuple[str, ...] | None = ()
    """What they may see: documents and specialists can be limited to groups. None: all, for who has the team itself."""
    scopes: tuple[AccessScope, ...] = SCOPES
    key: str = ""
    """Names the key or session that they came with."""

    @property
    def owner(self) -> Owner:
        """As memory and threads name them."""
        return Owner(self.user, self.tenant)

    def owns(self, owner: Owner) -> bool:
        """Is something of that owner theirs? What is nobody's belongs to who has the team itself."""
        return owner == self.owner or (self.groups is None and owner == Owner(None))


HERE = Caller(user=ME, groups=None)
"""The one person at this machine: who asks a server that has no users."""

Identify = Callable[[Request], Caller | Awaitable[Caller]]
"""Says who sent a request, or raises a `ServingError` with 401 or 403."""

CALLER = "metier.caller"
"""Key of a request's scope under which the gate names who sent it."""


def caller(request: Request) -> Caller:
    """Who sent a request.

    Raises:
        ServingError: 401, the request came past the gate.
    """
    known = request.scope.get(CALLER)
    if not isinstance(known, Caller):
        raise ServingError(401, "nobody knows who asks", code="unknown_caller")
    return known


async def _caller(request: Request) -> Caller:  # not asynchronous, it would get a thread for each request
    return caller(request)


Whoever = Annotated[Caller, Depends(_caller)]
"""The type of a route's parameter that is the caller."""
