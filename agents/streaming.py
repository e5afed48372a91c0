"""Events of synchronous work for asynchronous callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

from ..core.events import Event


async def in_thread(events: Callable[[], Iterator[Event]]) -> AsyncIterator[Event]:
    """The events as they come; the work that gives them runs in one thread, and its errors are raised here."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[Event | None]()

    def pump() -> None:
        try:
            for event in events():
                loop.call_soon_threadsafe(queue.put_nowait, event)
        finally:
            loop.call_soon_threadsafe(queue.put_nowait, None)

    work = asyncio.create_task(asyncio.to_thread(pump))
    while (event := await queue.get()) is not None:
        yield event
    await work
