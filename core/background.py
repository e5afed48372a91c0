"""Synchronous work for asynchronous callers: one thread for all of it, which ends when nobody listens."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import TypeVar

from .run import cancellable

Item = TypeVar("Item")


async def in_thread(work: Callable[[], Iterator[Item]]) -> AsyncIterator[Item]:
    """What the work yields, as it comes. Its errors are raised here; when the caller stops, so does the work.

    A thread of its own, not one of the event loop's pool: that has as many as the machine has cores, and a stream may
    last for minutes. Context variables are those of the caller.
    """
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[Item] | BaseException | None]()
    left = threading.Event()

    def put(item: tuple[Item] | BaseException | None) -> None:
        try:
            loop.call_soon_threadsafe(queue.put_nowait, item)
        except RuntimeError:  # The loop is closed: nobody will ask for more.
            left.set()

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(_pump, work, put, left), name="metier-work").start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        left.set()


def _pump(
    work: Callable[[], Iterator[Item]],
    put: Callable[[tuple[Item] | BaseException | None], None],
    left: threading.Event,
) -> None:
    def done() -> bool:
        # At the end of the program too: Python waits for this thread.
        return left.is_set() or not threading.main_thread().is_alive()

    try:
        with cancellable(done):
            items = work()
            for item in items:
                put((item,))
                if done():
                    break
            if isinstance(items, Generator):
                items.close()
        put(None)
    except BaseException as error:
        put(error)
