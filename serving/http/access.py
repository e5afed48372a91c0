"""The gate that every request passes: which host and page it is from, who sent it, what they may do, and how much.

Without users the server is for the one person at this machine, and for no page of anybody else. As soon as there is a
user, nothing but its health, the files of the page and the way to sign in is open, and so it stays while it runs.
"""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import logging
import re
import time
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...agents.team import Team
from ...core.errors import MetierError, StateError
from ...core.types import Value
from ..accounts import SCOPES, AccessScope, Accounts, Pass, may_have_users, open_accounts
from ..audit import AuditLog, open_audit
from ..usage import RateLimit
from .caller import CALLER, HERE, Caller, Identify, Whoever
from .errors import ServingError, error_response, status_of

access_routes = APIRouter(prefix="/api", tags=["access"])

_log = logging.getLogger("metier.http")

_WEB = Path(__file__).parent / "web"
_SAFE = ("GET", "HEAD", "OPTIONS")
_OPEN = {"/health", "/ready", "/ok"}
_LOGIN = "/api/login"
_TRIES_PER_MINUTE = 10
"""Passwords that may be tried for one name from one address."""
_MISSES_PER_MINUTE = 60
"""Unknown keys from one address."""
_LOOKS_APART = 1.0
"""Seconds after which a database that is not on this machine is asked again whether there are users."""
_AT_ONCE = 2
"""Passwords that are looked at at the same time: each takes 64 MB and a processor."""

_ASKED = (
    r"/v1/(chat|responses|runs|workflows|embeddings|files|batches)\b|/runs\b|/threads/[^/]+/runs\b|/a2a\b|/agui\b"
    r"|/api/threads/[^/]+/files/"
)
_READ_BY_POST = r"/assistants/search$|/threads/(search|count)$|/threads/[^/]+/history$|/api/route$"
_RULES: tuple[tuple[str, str, tuple[AccessScope, ...]], ...] = (
    (r".", r"/api/logout$", SCOPES),
    (r".", r"/mcp$", ("ask", "read")),
    (r".", r"/metrics$|/api/(review|operation)\b", ("admin",)),
    (r"POST|PUT|PATCH|DELETE", r"/api/(build|documents)\b", ("admin",)),
    (r"GET|HEAD", rf"{_ASKED}|/v1/models\b|/assistants\b|/info$|/\.well-known/", ("ask", "read")),
    (r".", r"/assistants/search$", ("ask", "read")),
    (r".", _ASKED, ("ask",)),
    (r"GET|HEAD|OPTIONS", r"", ("read",)),
    (r"POST", _READ_BY_POST, ("read",)),
    (r"POST", r"/threads$", ("ask", "write")),
    (r".", r"", ("write",)),
)
_COMPILED = [(re.compile(how), re.compile(where), scopes) for how, where, scopes in _RULES]
"""Method, beginning of the path, and the scopes of which one is needed; the first that fits counts."""


def scopes_for(method: str, path: str) -> tuple[AccessScope, ...]:
    """The scopes of which a request needs one.

    >>> scopes_for("POST", "/v1/runs"), scopes_for("GET", "/v1/runs/7"), scopes_for("DELETE", "/api/memory")
    (('ask',), ('ask', 'read'), ('write',))
    """
    return next(scopes for how, where, scopes in _COMPILED if how.match(method) and where.match(path))


def check_scope(who: Caller, *needed: AccessScope) -> None:
    """Raises `ServingError` (403) unless the caller has one of these scopes."""
    if not set(needed) & set(who.scopes):
        raise ServingError(403, f"this takes the scope '{needed[0]}'", code="missing_scope")


class Access:
    """Who may use the server of a team.

    Args:
        team: Its accounts and its audit log are beside it, its limits on its card.
        identify: Says who sent a request, instead of the team's accounts.
        origins: Pages of other servers that may use this one.
    """

    def __init__(self, team: Team, *, identify: Identify | None = None, origins: Collection[str] = ()) -> None:
        self._team, self._identify = team, identify
        self._origins = frozenset(origins)
        self._page = {"/", *(f"/{path.name}" for path in _WEB.iterdir())}
        self._accounts: Accounts | None = None
        self._audit: AuditLog | None = None
        self.closed, self._look_again = identify is not None, 0.0
        """There are users: nobody else is let in. It does not open again while the server runs."""
        self._requests, self._misses = RateLimit(), RateLimit()
        self.tries, self.at_once = RateLimit(), asyncio.Semaphore(_AT_ONCE)
        self.cookie = f"metier-{team.card.name}"
        """Cookies are the same for all ports of a host."""

    @property
    def accounts(self) -> Accounts | None:
        """The users; None where nobody was ever added."""
        if self._accounts is None and may_have_users(self._team.blueprint):
            self._accounts = open_accounts(self._team.blueprint)
        return self._accounts

    def _look(self) -> None:
        """Close when there are users. Once a request: while others compute, each look at the disk waits for them."""
        now = time.monotonic()
        if not self.closed and now >= self._look_again and (accounts := self.accounts) is not None:
            self.closed, self._look_again = bool(accounts), now if accounts.near else now + _LOOKS_APART

    async def let_in(self, request: Request) -> Caller | None:
        """Whoever sent a request; None where it does not matter.

        Raises:
            ServingError: 401, 403, 413, 421 or 429.
        """
        method, path = request.method, request.scope["path"]
        self._look()
        self._check_size(request)
        self._check_place(request)
        if path in _OPEN or (path == _LOGIN and method == "POST") or (path in self._page and method in ("GET", "HEAD")):
            return None
        who = await self._who(request)
        check_scope(who, *scopes_for(method, path))
        most = self._team.card.limits.requests_per_minute
        if self.closed and most and (wait := self._requests.wait(who.key or str(who.owner), most)):
            raise _too_many(f"more than {most} requests a minute", wait)
        return who

    def still(self, who: Caller) -> Caller:
        """Somebody who was let in before, as they are now.

        Raises:
            ServingError: 401, they are no user, or their key no key, any more.
        """
        accounts = self.accounts
        if self._identify is not None or accounts is None or who.groups is None or who.user is None:
            return who
        known = accounts.find(who.user)
        revoked = who.key.startswith("metier_") and not accounts.keys(id=who.key)
        if known is None or known.tenant != who.tenant or revoked:
            raise _nobody()
        scopes = tuple(scope for scope in who.scopes if scope in known.scopes)
        return who.model_copy(update={"groups": known.groups, "scopes": scopes})

    def by_key(self, request: Request) -> Caller:
        """Whoever has the key, or the session, that came with a request.

        Raises:
            ServingError: 401, nobody has; 403, a page of somebody else's sent it.
        """
        accounts, key, session = self.accounts, key_of(request), request.cookies.get(self.cookie)
        passed: Pass | None = None
        if accounts is not None and key:
            passed = accounts.by_key(key)
        elif accounts is not None and session:
            passed = accounts.by_session(session)
            if passed and request.method not in _SAFE and not self._from_our_page(request):
                raise ServingError(403, "another page's request does not count as yours", code="cross_origin")
        if passed is None:
            address = request.client.host if request.client else ""
            if (key or session) and (wait := self._misses.wait(address, _MISSES_PER_MINUTE)):
                raise _too_many("too many unknown keys", wait)
            raise _nobody()
        account = passed.account
        return Caller(
            user=account.name, tenant=account.tenant, groups=account.groups, scopes=passed.scopes, key=passed.by
        )

    async def note(self, request: Request, who: Caller | None, status: int, headers: dict[str, str]) -> None:
        """Keep in the audit log what was changed, and who was turned away."""
        path = request.scope["path"]
        changes = request.method not in _SAFE and scopes_for(request.method, path) != ("read",)
        if not self.closed or not (changes or status in (401, 403, 429)):
            return
        about = {"address": request.client.host} if request.client else {}
        if place := headers.get("location") or headers.get("content-location"):
            about["at"] = place[:300]
        whose = {"user": who.user, "tenant": who.tenant, "key": who.key} if who else {}
        try:
            if self._audit is None:
                self._audit = open_audit(self._team.blueprint)
            action = f"{request.method} {path[:300]}"
            await asyncio.to_thread(self._audit.add, action, status=status, about=about, **whose)
        except StateError as error:
            _log.error("the audit log cannot be written: %s", error)

    def close(self) -> None:
        """Close the files."""
        for file in (self._accounts, self._audit):
            if file is not None:
                file.close()

    async def _who(self, request: Request) -> Caller:
        if self._identify is not None:
            told = self._identify(request)
            return await told if inspect.isawaitable(told) else told
        if not self.closed:
            return HERE
        far = self.accounts is not None and not self.accounts.near
        return await asyncio.to_thread(self.by_key, request) if far else self.by_key(request)

    def _check_size(self, request: Request) -> None:
        most, length = self.most_bytes, request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            raise ServingError(413, too_large(most), code="request_too_large")

    @property
    def most_bytes(self) -> int:
        """The largest body of a request."""
        return int(self._team.card.limits.body_mb * 1_000_000)

    def _check_place(self, request: Request) -> None:
        """A browser may be made to send what a page of somebody else's wants, also by a name that leads here."""
        if not self.closed and not _leads_here(request.headers.get("host", "")):
            hint = "metier users add NAME lets others in, with a password or a key"
            raise ServingError(421, "without users this server is for this machine alone", code="wrong_host", hint=hint)
        keyed = self.closed and key_of(request) is not None
        if request.method not in _SAFE and not keyed and self._from_another_page(request):
            raise ServingError(403, "another page's request does not count as yours", code="cross_origin")

    def _from_another_page(self, request: Request) -> bool:
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if origin is not None and {origin, "*"} & self._origins:
            return False
        if site is not None:
            return site not in ("same-origin", "none")
        return origin is not None and urlsplit(origin).netloc != request.headers.get("host")

    def _from_our_page(self, request: Request) -> bool:
        """A cookie alone is no proof: the browser must say that the page is ours."""
        said = request.headers.get("sec-fetch-site") or request.headers.get("origin")
        return said is not None and not self._from_another_page(request)


class AccessGate:
    """Lets requests through that `Access` lets in, as the outermost part of the app but for what is added later."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, status, said = Request(scope), 500, dict[str, str]()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                said.update((name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"])
                if "x-content-type-options" not in said:
                    message = {**message, "headers": [*message["headers"], (b"x-content-type-options", b"nosniff")]}
            await send(message)

        inside = scope.get(CALLER)  # the server itself asks, for whoever gave it a batch
        who: Caller | None = None
        try:
            who = self._access.still(inside) if inside else await self._access.let_in(request)
        except MetierError as error:
            await error_response(error)(scope, receive, sending)
            await self._access.note(request, None, status_of(error), {})
            return
        try:
            counted = _counted(receive, self._access.most_bytes)
            if who:
                scope[CALLER] = who  # not in a copy: whoever stands outside sees the route that was found
            await self._app(scope, counted, sending)
        finally:
            await self._access.note(request, who, status, said)


def _counted(receive: Receive, most: int) -> Receive:
    """`receive`, which ends a body that is too large and did not say so before."""
    got = 0

    async def receiving() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise HTTPException(413, too_large(most))
        return message

    return receiving


def too_large(most: int) -> str:
    """What is said of a request with a larger body."""
    return f"a request has {most / 1e6:.4g} MB at most"


def key_of(request: Request) -> str | None:
    """The API key that came with a request, as OpenAI's or LangGraph's clients send it."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("x-api-key")


def is_loopback(host: str) -> bool:
    """Does a name or address lead to this machine only?"""
    try:
        return host.lower().rstrip(".") == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=256)
def _leads_here(host: str) -> bool:
    """Does the name by which a server was asked lead to this machine only?"""
    try:
        asked = urlsplit(f"//{host}")
    except ValueError:
        return False
    return asked.username is None and not asked.path and not asked.query and is_loopback(asked.hostname or "")


def _nobody() -> ServingError:
    headers = {"WWW-Authenticate": "Bearer"}
    hint = "send `Authorization: Bearer KEY`; metier keys add USER makes one"
    return ServingError(401, "this server answers those it knows", code="unknown_caller", hint=hint, headers=headers)


def _too_many(what: str, seconds: int) -> ServingError:
    return ServingError(429, what, code="rate_limit", headers={"Retry-After": str(seconds)})


def add_access(app: FastAPI, access: Access) -> None:
    """Put the gate before everything that the app has so far, and the way to sign in behind it."""
    app.state.access = access
    app.include_router(access_routes)
    app.add_middleware(AccessGate, access=access)


class SignIn(Value):
    """A name and a password."""

    user: Annotated[str, Field(max_length=200)]
    password: Annotated[str, Field(max_length=2_000)]


@access_routes.post("/login", status_code=204)
async def sign_in(given: SignIn, request: Request) -> Response:
    """Sign in at the page: the session is a cookie that no script can read and no other page can send."""
    access: Access = request.app.state.access
    accounts = access.accounts
    if accounts is None or not access.closed:
        raise ServingError(409, "this server has no users", code="no_users", hint="metier users add NAME")
    address = request.client.host if request.client else ""
    if wait := access.tries.wait(f"{address}\n{given.user}", _TRIES_PER_MINUTE):
        raise _too_many("too many attempts to sign in", wait)
    async with access.at_once:
        account = await asyncio.to_thread(accounts.by_password, given.user, given.password)
    if account is None:
        raise ServingError(401, "name or password is wrong", code="wrong_password")
    response = Response(status_code=204)
    options: dict[str, Any] = {"httponly": True, "samesite": "strict", "secure": request.url.scheme == "https"}
    response.set_cookie(access.cookie, accounts.sign_in(account), path="/", **options)
    return response


@access_routes.post("/logout", status_code=204)
async def sign_out(request: Request, who: Whoever) -> Response:
    """End the session."""
    access: Access = request.app.state.access
    if access.accounts is not None and (session := request.cookies.get(access.cookie)):
        access.accounts.sign_out(session)
    response = Response(status_code=204)
    response.delete_cookie(access.cookie, path="/", httponly=True, samesite="strict")
    return response
