"""An app in this process, asked without a socket: quick enough for thousands of guesses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

from fastapi import FastAPI

from metier.agents.team import Team
from metier.serving.accounts import Accounts, open_accounts
from metier.serving.http.app import create_app

PASSWORD = "correct horse battery"


class Got(NamedTuple):
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What it says."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """All of it, headers too: where something must not be found."""
        return f"{self.headers}\n{self.body.decode('utf-8', 'replace')}"


class Asked(NamedTuple):
    """A request. `path` is as it stands in the request's line; a body is sent as JSON unless it is bytes."""

    method: str
    path: str
    key: str | None = None
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    host: str = "127.0.0.1:8321"


class Door:
    """An app at work in an event loop of its own.

    Args:
        app: Made by `create_app`.
        runner: Its loop.
    """

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self.app, self._runner = app, runner

    def ask(self, method: str, path: str, key: str | None = None, body: Any = None, **headers: str) -> Got:
        """One request, with somebody's key; headers as keyword arguments, `_` for `-`."""
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return self.send(Asked(method, path, key, body, named))

    def send(self, asked: Asked) -> Got:
        """One request."""
        return self._runner.run(_send(self.app, asked))

    def send_all(self, asked: Sequence[Asked], at_once: int = 4) -> list[Got]:
        """Many requests, some of them at the same time."""
        return self._runner.run(self._all(asked, at_once))

    def run(self, task: str, key: str | None = None, **more: Any) -> dict[str, Any]:
        """A task through `/v1/runs`; the run as it ended."""
        got = self.ask("POST", "/v1/runs", key, {"task": task, "wait": True, **more})
        assert got.status == 200, got.text
        return got.json

    async def _all(self, asked: Sequence[Asked], at_once: int) -> list[Got]:
        few = asyncio.Semaphore(at_once)

        async def one(each: Asked) -> Got:
            async with few:
                return await _send(self.app, each)

        return list(await asyncio.gather(*map(one, asked)))


async def _send(app: FastAPI, asked: Asked) -> Got:
    given = b"" if asked.body is None else asked.body
    plain = given if isinstance(given, bytes) else json.dumps(given).encode()
    path, _, query = asked.path.partition("?")
    headers = [("host", asked.host), ("content-length", str(len(plain))), *asked.headers]
    if asked.key:
        headers.append(("authorization", f"Bearer {asked.key}"))
    if plain and not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", "application/json"))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": asked.method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("10.0.0.9", 4000),
        "server": ("127.0.0.1", 8321),
    }
    told: list[dict[str, Any]] = []
    messages = iter([{"type": "http.request", "body": plain, "more_body": False}])

    async def receive() -> dict[str, Any]:
        if message := next(messages, None):
            return message
        return await asyncio.Event().wait() and {}  # nobody hangs up

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    await app(scope, receive, send)  # pyright: ignore[reportArgumentType]
    start, *rest = told
    said = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    return Got(start["status"], said, b"".join(part.get("body", b"") for part in rest))


@contextmanager
def behind(team: Team, **more: Any) -> Iterator[Door]:
    """The app of a team, begun and ended."""
    app = create_app(team, **more)
    with asyncio.Runner() as runner:
        life = _living(app)
        runner.run(life.__aenter__())
        try:
            yield Door(app, runner)
        finally:
            runner.run(life.__aexit__(None, None, None))


@asynccontextmanager
async def _living(app: FastAPI) -> AsyncIterator[None]:
    begun, over = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.router.lifespan_context(app):
            begun.set()
            await over.wait()

    task = asyncio.create_task(live())
    await begun.wait()
    yield
    over.set()
    await task


@contextmanager
def accounts_of(team: Team) -> Iterator[Accounts]:
    """The users of a team."""
    with closing(open_accounts(team.blueprint)) as accounts:
        yield accounts
