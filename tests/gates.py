"""Asks an app in this process, without a socket: quick enough for thousands of guesses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from metier.agents.team import Team
from metier.serving.accounts import ACCESS_FILE, Accounts
from metier.serving.http.app import create_app

PASSWORD = "correct horse battery"


class Door:
    """An app at work in this process's own event loop.

    Args:
        app: Made by `create_app`.
    """

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self.app, self._runner = app, runner
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False))

    def ask(self, method: str, path: str, key: str | None = None, **more: Any) -> httpx.Response:
        """One request, with somebody's key."""
        headers = {**({"authorization": f"Bearer {key}"} if key else {}), **more.pop("headers", {})}
        url = path if path.startswith("http") else f"http://127.0.0.1{path}"
        return self._runner.run(self._client.request(method, url, headers=headers, **more))

    def ask_all(self, wanted: list[tuple[str, str, str | None, Any]]) -> list[httpx.Response]:
        """Many requests, some at the same time: method, path, key, JSON body."""
        return self._runner.run(self._all(wanted))

    async def _all(self, wanted: list[tuple[str, str, str | None, Any]]) -> list[httpx.Response]:
        few = asyncio.Semaphore(8)

        async def one(method: str, path: str, key: str | None, body: Any) -> httpx.Response:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            async with few:
                return await self._client.request(method, f"http://127.0.0.1{path}", headers=headers, json=body)

        return list(await asyncio.gather(*(one(*each) for each in wanted)))

    def close(self) -> None:
        """Close the client."""
        self._runner.run(self._client.aclose())


@contextmanager
def behind(team: Team, **more: Any) -> Iterator[Door]:
    """The app of a team, begun and ended."""
    app = create_app(team, **more)
    with asyncio.Runner() as runner:
        life = _living(app)
        runner.run(life.__aenter__())
        door = Door(app, runner)
        try:
            yield door
        finally:
            door.close()
            runner.run(life.__aexit__(None, None, None))


@asynccontextmanager
async def _living(app: FastAPI) -> AsyncIterator[None]:
    """Starlette's own way of beginning an app, in a task of its own."""
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
    path: Path = team.blueprint.state / ACCESS_FILE
    accounts = Accounts(path)
    try:
        yield accounts
    finally:
        accounts.close()
