"""Answers that come bit by bit (Server-Sent Events), and what happens when nobody listens any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic_core import to_json

from .errors import ServingError
from .run import Run
from .runs import RunService

AnyResult = TypeVar("AnyResult")

SSE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A stream of events.", "content": {"text/event-stream": {}}}
}
"""The responses of a route that streams, for OpenAPI."""

QUIET = b": still there\n\n"
"""A comment: keeps proxies from closing a stream on which nothing happens."""


def sse(data: Any, *, event: str | None = None, id: int | None = None) -> bytes:
    """One event of a stream; `data` becomes JSON, a text stays as it is."""
    text = data if isinstance(data, str) else to_json(data, inf_nan_mode="null").decode()
    return format_sse_event(data_str=text, event=event, id=None if id is None else str(id))


def stream_response(parts: AsyncIterator[bytes], headers: dict[str, str] | None = None) -> EventSourceResponse:
    """The response that sends these parts as they come."""
    return EventSourceResponse(
        parts, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"} | (headers or {})
    )


@contextmanager
def attached(service: RunService, run: Run) -> Iterator[None]:
    """The run is called off when its last listener leaves before it has ended."""
    run.watchers += 1
    try:
        yield
    finally:
        run.watchers -= 1
        if not run.watchers and not run.ended:
            service.cancel(run)


async def while_connected(request: Request, work: Awaitable[AnyResult]) -> AnyResult:
    """What the work gives; it is cancelled when whoever sent the request goes away.

    Raises:
        ServingError: 499, nobody is there to read it.
    """
    task, gone = asyncio.ensure_future(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ServingError(499, "the connection was closed", code="closed")
        return await task
    finally:
        for left in (task, gone):
            left.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
