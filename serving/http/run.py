"""One task on its way: what was asked, what happened, how it stands; followed by whoever wants to know."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from ...agents.threads import SINGLE, WORKFLOW
from ...core.run import Event
from ...core.types import Answer
from .caller import Caller
from .errors import ServingError, error_body
from .run_request import ENDED, RunRequest, RunStatus, RunView, WebhookTarget
from .telemetry import Trace

_HEARTBEAT = 15.0
"""Seconds of silence after which a follower is told that the run is still there."""


class Run:
    """One task on its way. Only the event loop touches it, but for `called_off`.

    Args:
        caller: Who asks.
        asked: What.
        durable: It is worth a record, and goes on after the server was killed.
        webhook: Who is told of its end.
        id: Its name; left out: a new one.
    """

    def __init__(
        self,
        caller: Caller,
        asked: RunRequest,
        *,
        durable: bool = False,
        webhook: WebhookTarget | None = None,
        id: str | None = None,
    ) -> None:
        self.id, self.caller, self.asked = id or str(uuid4()), caller, asked
        self.durable, self.webhook = durable, webhook
        self.thread_id = asked.thread_id or f"{WORKFLOW if asked.workflow else SINGLE}{self.id}"
        self.status: RunStatus = "queued"
        self.created_at, self.ended_at = time.time(), None
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.told = False
        """Whoever wanted to know of its end does."""
        self.events: list[Event] = []
        self.trace = Trace()
        self.called_off = threading.Event()
        self.begun_at: float | None = None
        """When somebody began to work on it."""
        self.too_late = False
        self.watchers = 0
        self._news, self._over = asyncio.Event(), asyncio.Event()

    @property
    def ended(self) -> bool:
        """Nothing more comes, unless it is resumed."""
        return self.status in ENDED

    @property
    def view(self) -> RunView:
        """As it is shown."""
        return RunView(
            id=self.id,
            status=self.status,
            task=self.asked.task,
            thread_id=self.thread_id,
            specialist=self.asked.specialist,
            created_at=self.created_at,
            ended_at=self.ended_at,
            answer=self.answer,
            error=error_body(self.error)["error"] if self.error else None,
        )

    @property
    def record(self) -> dict[str, Any]:
        """All that is kept of it."""
        return {
            "view": self.view.model_dump(mode="json"),
            "caller": self.caller.model_dump(mode="json"),
            "asked": self.asked.model_dump(mode="json"),
            "webhook": self.webhook.model_dump(mode="json") if self.webhook else None,
            "told": self.told,
        }

    @classmethod
    def of(cls, record: dict[str, Any]) -> Run:
        """The run of a record, without its events."""
        view, hook = RunView.model_validate(record["view"]), record["webhook"]
        run = cls(
            Caller.model_validate(record["caller"]),
            RunRequest.model_validate(record["asked"]),
            durable=True,
            webhook=WebhookTarget.model_validate(hook) if hook else None,
            id=view.id,
        )
        run.thread_id, run.status, run.answer = view.thread_id, view.status, view.answer
        run.created_at, run.ended_at, run.told = view.created_at, view.ended_at, record["told"]
        run.error = ServingError(500, view.error["message"], code=view.error["code"]) if view.error else None
        return run

    def add(self, event: Event) -> None:
        """Something happened."""
        self.events.append(event)
        if event.name in ("answer", "waiting"):
            self.answer = Answer.model_validate(event.data)
        self._tell()

    def become(self, status: RunStatus, error: BaseException | None = None) -> None:
        """The run is in another state now."""
        self.status, self.error = status, error
        if status == "in_progress":
            self.begun_at = time.time()
        self.ended_at = time.time() if self.ended else None
        self._tell()

    def catch_up(self, record: dict[str, Any]) -> None:
        """What became of it on another server, of whose events only the last is known here."""
        other = Run.of(record)
        if (other.status, other.ended_at) == (self.status, self.ended_at):
            return
        if other.answer is not None and other.answer != self.answer:
            name = "waiting" if other.answer.kind == "waiting" else "answer"
            data = other.answer.model_dump(mode="json")
            self.events.append(Event(name=name, specialist=other.answer.specialist, data=data))
        self.status, self.answer, self.error = other.status, other.answer, other.error
        self.ended_at, self.told = other.ended_at, other.told
        self._tell()

    def _tell(self) -> None:
        self._news.set()  # wakes all who wait at this moment
        self._news.clear()
        if self.ended:
            self._over.set()
        else:
            self._over.clear()

    async def follow(self, after: int = 0) -> AsyncIterator[Event | None]:
        """Its events from number `after` on until it ends; None now and then while nothing happens."""
        events = self.events  # they stay there for whoever is slow, also when the run forgets them
        while True:
            while after < len(events):
                after += 1
                yield events[after - 1]
            if self.ended:
                return
            try:
                await asyncio.wait_for(self._news.wait(), _HEARTBEAT)
            except TimeoutError:
                yield None

    async def begun(self) -> None:
        """Wait until something has happened."""
        while not (self.events or self.ended):
            await self._news.wait()

    async def settled(self) -> None:
        """Wait until a run that has just said that it waits for a person does so: who is quick may decide before."""
        while self.status == "in_progress" and self.events and self.events[-1].name == "waiting":
            await self._news.wait()

    async def finished(self) -> Answer:
        """The answer, once there is one.

        Raises:
            ServingError: the run was called off.
            MetierError: why it failed.
        """
        while not self.ended:
            await self._over.wait()  # not for all the news before
        if self.status == "cancelled":
            raise ServingError(409, f"run {self.id} was cancelled", code="cancelled")
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer
