"""The runs that all doors share: started, followed, called off, gone on with. They live in the event loop; the team's
work goes on in a bounded pool of threads, one turn at a time in each thread of conversation.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from typing import Any, Literal
from uuid import uuid4

from pydantic import Field

from ...agents.team import Team
from ...core.errors import MetierError, unknown
from ...core.run import Cancelled, Event, cancellable
from ...core.types import Answer, Turn, Value
from ...tools.policy import Decision
from .caller import Caller
from .errors import ServingError, error_body

_log = logging.getLogger("metier.http")

RunStatus = Literal["queued", "in_progress", "requires_action", "completed", "failed", "cancelled"]
"""`requires_action`: a person must decide about the calls in `answer.data`; the run goes on with `resume`."""

ENDED: tuple[RunStatus, ...] = ("requires_action", "completed", "failed", "cancelled")
"""What is over, or stands still until somebody decides."""

_HEARTBEAT = 15.0
"""Seconds of silence after which a follower is told that the run is still there."""
_KEPT = 2_000
"""Runs that have ended and can still be asked about."""


class RunRequest(Value):
    """What is asked of the team."""

    task: str = Field(min_length=1, max_length=200_000)
    """In the user's words."""
    thread_id: str | None = Field(default=None, min_length=1, max_length=200)
    """The conversation that it belongs to; left out: none."""
    specialist: str | None = Field(default=None, max_length=200)
    """Skip the router and ask this one."""
    history: tuple[Turn, ...] = Field(default=(), max_length=1_000)
    """Earlier turns of a conversation that the caller keeps; for a task without `thread_id`."""


class RunView(Value):
    """A run as it is shown."""

    id: str
    object: Literal["run"] = "run"
    status: RunStatus
    task: str
    thread_id: str
    specialist: str | None = None
    """Whom the caller named."""
    created_at: float
    """Seconds since 1970."""
    ended_at: float | None = None
    answer: Answer | None = None
    error: dict[str, Any] | None = None
    """As in `{"error": …}` of a response that failed."""


class Run:
    """One task on its way. Only the event loop touches it, but for `called_off`."""

    def __init__(self, caller: Caller, asked: RunRequest, id: str | None = None) -> None:
        self.id, self.caller, self.asked = id or str(uuid4()), caller, asked
        self.thread_id = asked.thread_id or f"once-{self.id}"
        self.status: RunStatus = "queued"
        self.created_at, self.ended_at = time.time(), None
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.events: list[Event] = []
        self.called_off = threading.Event()
        self.watchers = 0
        self._news = asyncio.Event()

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

    def add(self, event: Event) -> None:
        """Something happened."""
        self.events.append(event)
        if event.name in ("answer", "waiting"):
            self.answer = Answer.model_validate(event.data)
        self._tell()

    def become(self, status: RunStatus, error: BaseException | None = None) -> None:
        """The run is in another state now."""
        self.status, self.error = status, error
        self.ended_at = time.time() if self.ended else None
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def follow(self, after: int = 0) -> AsyncIterator[Event | None]:
        """Its events from number `after` on until it ends; None now and then while nothing happens."""
        while True:
            while after < len(self.events):
                after += 1
                yield self.events[after - 1]
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

    async def finished(self) -> Answer:
        """The answer, once there is one.

        Raises:
            ServingError: the run was called off.
            MetierError: why it failed.
        """
        while not self.ended:
            await self._news.wait()
        if self.status == "cancelled":
            raise ServingError(409, f"run {self.id} was cancelled", code="cancelled")
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer


class RunService:
    """All runs of one team.

    Args:
        team: Who works. Whoever opened it closes it.
        workers: Runs that are worked on at the same time.
        queue: Runs that may wait for a worker; with more, callers are sent away (429) and told when to come back.
    """

    def __init__(self, team: Team, *, workers: int = 8, queue: int = 64) -> None:
        self.team, self.workers, self.queue = team, workers, queue
        self.draining = False
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="metier-run")
        self._active: dict[str, asyncio.Task[None]] = {}
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._keys: OrderedDict[tuple[Any, ...], tuple[str, str]] = OrderedDict()
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    @property
    def active(self) -> int:
        """Runs that are waiting or worked on."""
        return len(self._active)

    def start(self, caller: Caller, asked: RunRequest, *, key: str | None = None) -> Run:
        """Begin a run.

        Args:
            caller: Who asks.
            asked: What.
            key: The `Idempotency-Key`: the same request with the same key is the same run.

        Raises:
            ServingError: 404 no such specialist, 422 the key belongs to another request, 429 too much is waiting, 503
                the server is about to end.
        """
        place = (caller.tenant, caller.user, key)
        body = hashlib.sha256(asked.model_dump_json().encode()).hexdigest()
        if key and (known := self._keys.get(place)) and known[1] in self._runs:
            if known[0] != body:
                raise ServingError(422, "this Idempotency-Key belongs to another request", code="idempotency_mismatch")
            return self._runs[known[1]]
        self._admit(asked)
        run = Run(caller, asked)
        self._runs[run.id] = run
        if key:
            self._keys[place] = (body, run.id)
        more = {"specialist": asked.specialist, "user": caller.user, "tenant": caller.tenant, "run_id": run.id}
        self._begin(run, lambda: self.team.stream(asked.task, thread_id=run.thread_id, history=asked.history, **more))
        return run

    def get(self, caller: Caller, id: str) -> Run:
        """A run of this caller.

        Raises:
            ServingError: 404, there is none; another's is as if it did not exist.
        """
        run = self._runs.get(id)
        if run is None or run.caller.owner != caller.owner:
            raise ServingError(404, f"there is no run '{id}'", code="run_not_found")
        return run

    def waiting(self, caller: Caller, thread_id: str) -> Run | None:
        """The run that waits for a person in a conversation of this caller, also when an earlier process began it."""
        left = self.team.threads.unfinished(thread_id)
        if left is None or not left.questions:
            return None
        if left.run_id not in self._runs:
            task = self.team.threads.turns(thread_id)[-1].task
            run = Run(caller, RunRequest(task=task, thread_id=thread_id), left.run_id)
            run.answer = left.waiting(thread_id, 0.0)
            run.become("requires_action")
            self._runs[run.id] = run
        return self._runs[left.run_id]

    def cancel(self, run: Run) -> None:
        """Call a run off: it ends at its next event; one that waits does not begin."""
        run.called_off.set()
        if run.status == "queued":
            self._active[run.id].cancel()
        elif run.status == "requires_action":
            run.become("cancelled")

    def resume(self, run: Run, decisions: Sequence[Decision]) -> None:
        """Go on with a run that waits for a person.

        Raises:
            ServingError: 409, it does not wait; 422, decisions and calls do not fit; 429, 503: as in `start`.
        """
        if run.status != "requires_action":
            raise ServingError(409, f"run {run.id} waits for nobody: it is {run.status}", code="not_waiting")
        left = self.team.threads.unfinished(run.thread_id)
        if left is None:
            raise ServingError(409, f"nothing is unfinished in thread '{run.thread_id}'", code="not_waiting")
        try:
            left.resume(decisions)
        except MetierError as error:
            raise ServingError(422, error.message, code="wrong_decisions", param="decisions") from error
        self._admit(run.asked)
        run.become("queued")
        self._begin(run, lambda: self.team.stream_on(run.thread_id, decisions))

    async def drain(self, seconds: float) -> None:
        """Take nothing new; let what goes on end, and call off what is still there after that time."""
        self.draining = True
        if self._active:
            await asyncio.wait(list(self._active.values()), timeout=seconds)
        for id in list(self._active):
            self.cancel(self._runs[id])
        if self._active:
            await asyncio.wait(list(self._active.values()), timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _admit(self, asked: RunRequest) -> None:
        if self.draining:
            raise ServingError(503, "the server is about to end", code="draining", headers={"Retry-After": "5"})
        if asked.specialist is not None and asked.specialist not in self.team.specialists:
            message = unknown("specialist", asked.specialist, self.team.specialists)
            raise ServingError(404, message, code="specialist_not_found", param="specialist")
        if self.active >= self.workers + self.queue:
            message = f"{self.active} tasks are being worked on or wait"
            raise ServingError(429, message, code="queue_full", headers={"Retry-After": "1"})

    def _begin(self, run: Run, work: Callable[[], Iterator[Event]]) -> None:
        run.called_off.clear()
        self._active[run.id] = asyncio.get_running_loop().create_task(self._drive(run, work))

    async def _drive(self, run: Run, work: Callable[[], Iterator[Event]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with self._turn(run.thread_id):
                await _in_pool(self._pool.submit(self._work, run, work, loop))
            waits = run.answer is not None and run.answer.kind == "waiting"
            run.become("requires_action" if waits else "completed")
        except (Cancelled, asyncio.CancelledError):
            run.become("cancelled")
        except Exception as error:
            if not isinstance(error, MetierError):
                _log.error("run %s failed", run.id, exc_info=error)
            run.become("failed", error)
        finally:
            del self._active[run.id]
            self._forget()

    def _work(self, run: Run, work: Callable[[], Iterator[Event]], loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of the pool: the team works, the loop is told."""
        if run.called_off.is_set():
            raise Cancelled("called off before it began")
        loop.call_soon_threadsafe(run.become, "in_progress")
        with cancellable(run.called_off.is_set), closing(work()) as events:  # pyright: ignore[reportArgumentType]
            for event in events:
                loop.call_soon_threadsafe(run.add, event)

    @asynccontextmanager
    async def _turn(self, thread_id: str) -> AsyncIterator[None]:
        """Wait for those who came before in this thread, in their order."""
        lock, waiting = self._turns.get(thread_id, (asyncio.Lock(), 0))
        self._turns[thread_id] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns[thread_id]
            if waiting == 1:
                del self._turns[thread_id]
            else:
                self._turns[thread_id] = (lock, waiting - 1)

    def _forget(self) -> None:
        """Only the last runs can be asked about; one that waits for a person is never forgotten."""
        for id in list(self._runs)[: max(0, len(self._runs) - _KEPT)]:
            if self._runs[id].status in ("completed", "failed", "cancelled"):
                del self._runs[id]
        while len(self._keys) > _KEPT:
            self._keys.popitem(last=False)


async def _in_pool(work: Future[None]) -> None:
    """Wait for work in the pool; when it is cancelled, until it has really stopped: the next turn may begin then."""
    try:
        await asyncio.wrap_future(work)
    except asyncio.CancelledError:
        if not work.cancelled():
            await asyncio.wait([asyncio.wrap_future(work)])
        raise
