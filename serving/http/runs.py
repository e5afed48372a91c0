"""The runs that all doors share: started, called off, gone on with. They live in the event loop; the team's work goes
on in a bounded pool of threads, one turn at a time in each thread of conversation. Durable ones are records that all
servers of the team see; one of them works on each (`shift.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from ...agents.team import Team
from ...agents.threads import Unfinished
from ...agents.workflows.runs import kept_run
from ...core.errors import MetierError, StateError, unknown
from ...core.run import Cancelled, Emit, Event, cancellable, traced
from ...memory.records import Record
from ...tools.policy import Decision
from ..usage import UsageBook
from .caller import Caller
from .errors import ServingError
from .run import Run
from .run_request import RunRequest, WebhookTarget
from .shift import Shift
from .telemetry import Trace
from .workflow_runs import admit_workflow, begin_workflow, go_on_with_workflow, workflow_left

_log = logging.getLogger("metier.http")

_LOOK_AGAIN = 0.2
"""Seconds after which a run looks again whether those before it, on another server, have ended."""
_KEPT = 2_000
"""Runs that have ended and are in memory; of those that are not durable nothing else is known."""
_KEPT_WHOLE = 200
"""Of those, how many are kept with what happened in them: each token is an event."""
_KEPT_DAYS = 30
"""Days for which ended runs are kept on the disk."""


_Work = Callable[[Emit], Any]
"""What the team does for a run, telling of it."""


class RunService:
    """All runs of one team.

    Args:
        team: Who works. Whoever opened it closes it.
        shift: What is kept of runs that are worth it, and which of them this server works on.
        workers: Runs that are worked on at the same time.
        queue: Runs that may wait for a worker; with more, callers are sent away (429) and told when to come back.
        on_end: Told of each run with a webhook that has ended or waits for a person; sets `told`.
        used: What each user has used today; left out: nobody is counted.
    """

    def __init__(
        self,
        team: Team,
        shift: Shift,
        *,
        workers: int = 8,
        queue: int = 64,
        on_end: Callable[[Run], Awaitable[None]] | None = None,
        used: UsageBook | None = None,
    ) -> None:
        self.team, self.shift, self.workers, self.queue = team, shift, workers, queue
        self.records, self.used = shift.records, used
        self.draining = False
        self.on_ended = list[Callable[[Run], None]]()
        """Told of each run that has ended or waits for a person: metrics, traces."""
        self._on_end = on_end
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="metier-run")
        self._active: dict[str, asyncio.Task[None]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._clear = True
        self._whole = deque[Run]()

    def team_for(self, caller: Caller) -> Team:
        """The team as this caller may use it."""
        return self.team.seen_by(caller.groups)

    @property
    def active(self) -> int:
        """Runs that are waiting or worked on."""
        return len(self._active)

    @property
    def working(self) -> int:
        """Runs that are worked on."""
        return sum(self._runs[id].status == "in_progress" for id in self._active)

    def find(self, id: str) -> Run | None:
        """A run that is in memory, whoever asked for it."""
        return self._runs.get(id)

    def start(
        self,
        caller: Caller,
        asked: RunRequest,
        *,
        key: str | None = None,
        durable: bool = False,
        webhook: WebhookTarget | None = None,
    ) -> Run:
        """Begin a run.

        Args:
            caller: Who asks.
            asked: What.
            key: The `Idempotency-Key`: the same request with the same key is the same run, also on another server.
            durable: Keep it, so that it is known, and goes on, after the server ended. One with a key always is.
            webhook: Who is told of its end.

        Raises:
            ServingError: 404 no such specialist, 422 the key belongs to another request, 429 too much is waiting, 503
                the server is about to end.
        """
        place, body = "", ""
        if key:
            place, body = _digest([*caller.owner, key]), _digest([asked.said, webhook and webhook.url])
        if place and (known := self._known(caller, place, body)):
            return known
        self._admit(caller, asked)
        run = Run(caller, asked, durable=durable or bool(key), webhook=webhook)
        if not place:
            self._save(run)
        elif not self._save_with_key(run, place, body):  # the same request came to another server meanwhile
            return self._known(caller, place, body) or self.start(caller, asked, key=key, webhook=webhook)
        self._runs[run.id] = run
        self._begin(run, self._from_the_start(run))
        return run

    def _known(self, caller: Caller, place: str, body: str) -> Run | None:
        """The run that was asked for with a key."""
        record = self.records.get("key", place)
        if record is None:
            return None
        if record.body["body"] != body:
            raise ServingError(422, "this Idempotency-Key belongs to another request", code="idempotency_mismatch")
        try:
            return self.get(caller, record.body["run"])
        except ServingError:  # erased
            self.records.delete("key", place)
            return None

    def _save_with_key(self, run: Run, place: str, body: str) -> bool:
        """Both or, where the key is taken already, none."""
        owner = run.caller.owner
        new = ("run", run.id, owner, run.record, run.thread_id, self.shift.hold)
        return self.records.put_once("key", place, owner, {"body": body, "run": run.id}, [new])

    def _from_the_start(self, run: Run) -> _Work:
        asked, owner, team = run.asked, run.caller.owner, self.team_for(run.caller)
        if asked.workflow:
            return begin_workflow(team, asked, run.id, owner)
        more: dict[str, Any] = {"specialist": asked.specialist, "user": owner.user, "tenant": owner.tenant}
        return lambda emit: team.ask(
            asked.task, thread_id=asked.thread_id, history=asked.history, run_id=run.id, emit=emit, **more
        )

    def _from_where_it_stands(self, run: Run, decisions: Sequence[Decision] = ()) -> _Work:
        team = self.team_for(run.caller)
        if run.asked.workflow:
            return go_on_with_workflow(team, run.id, decisions)
        return lambda emit: team.resume(run.thread_id, decisions, emit=emit)

    async def look_around(self) -> None:
        """Go on with what nobody works on any more, and see what became of runs, and was called off, elsewhere."""
        if self.draining:
            return
        room = self.workers + self.queue - self.active
        others = [run for id, run in self._runs.items() if id not in self._active and run.durable and not run.ended]
        mine = [id for id in self._active if self._runs[id].durable]  # before: a run may begin meanwhile
        taken, called_off, held, seen = await asyncio.to_thread(self._seen, room, [run.id for run in others])
        for record in taken:
            self._take(record)
        for id in called_off & self._active.keys():
            self.cancel(self._runs[id])
            self.records.delete("cancel", id)
        for id in mine:
            if id in self._active and id not in held:
                self.cancel(self._runs[id])  # another server works on it
        for run in others:
            if run.id in seen and run.id not in self._active:
                run.catch_up(seen[run.id])

    def _seen(self, room: int, others: Sequence[str]) -> tuple[list[Record], set[str], set[str], dict[str, Any]]:
        """In a thread: what is taken, what was called off, what this server holds, and how others' runs stand."""
        self.shift.renew()
        if self._clear:
            self.records.forget_before(time.time() - _KEPT_DAYS * 86_400)
            self._clear = False
        taken = self.shift.take("run", room)
        known = {id: record.body for id in others if (record := self.records.get("run", id))}
        return taken, {r.id for r in self.records.list("cancel")}, self.shift.held("run"), known

    def _take(self, record: Record) -> None:
        """Go on with a run that was broken off, or tell of its end."""
        run = self._runs[record.id] if record.id in self._runs else Run.of(record.body)
        run.catch_up(record.body)
        self._runs[run.id] = run
        if run.ended:
            self._tell(run)
        else:
            self._go_on(run)

    def _go_on(self, run: Run) -> None:
        """With a run that was broken off: from its last step where the thread has it, else from the beginning."""
        threads = self.team.threads
        left = self._left(run)
        if left is not None and left.run_id == run.id:
            if left.questions:
                run.answer = left.waiting(run.thread_id, 0.0)
                run.become("requires_action")
                self._ended(run)
                return
            work = self._from_where_it_stands(run)
        else:
            done = run.answer  # noted before its thread was left
            if run.asked.workflow and (over := kept_run(threads, run.id)):
                done = over.run.answer
            if done is None and left is None and threads.owner(run.thread_id) is not None:
                done = threads.answer(run.thread_id)
            if done is not None and done.run_id == run.id:
                if run.asked.thread_id is None and not run.asked.workflow:
                    threads.settle_single(run.thread_id, run.asked.task, done, run.caller.owner)
                run.answer = done
                run.become("completed")
                self._ended(run)
                return
            work = self._from_the_start(run)
        run.become("queued")
        self._begin(run, work)

    def get(self, caller: Caller, id: str) -> Run:
        """A run of this caller.

        Raises:
            ServingError: 404, there is none; another's is as if it did not exist.
        """
        run = self._runs.get(id)
        if id not in self._active and (run is None or run.durable) and (record := self.records.get("run", id)):
            run = self._runs[id] = run or Run.of(record.body)
            run.catch_up(record.body)
        if id not in self._active:
            run = self._of_another_door(caller, id, run)
        if run is None or run.caller.owner != caller.owner:
            raise ServingError(404, f"there is no run '{id}'", code="run_not_found")
        run.caller = caller  # in whose groups they are now, should it go on
        return run

    def _of_another_door(self, caller: Caller, id: str, run: Run | None) -> Run | None:
        """A workflow's run that a command began, or went on with, and that stands still since."""
        if run is not None and (run.status != "requires_action" or not run.asked.workflow):
            return run
        kept = kept_run(self.team.threads, id)
        if kept is None or not caller.owns(kept.owner) or kept.run.within or kept.run.status == "running":
            return run
        if run is not None and run.answer == kept.run.answer:
            return run
        if run is None:
            parameters = {name: value for name, value in kept.run.parameters.items() if name in kept.plan.parameters}
            asked = RunRequest.of_workflow(kept.run.workflow, parameters)
            run = self._runs[id] = Run(caller, asked, durable=True, id=id)
            run.created_at = kept.at
        run.answer = kept.run.answer
        failed = StateError(run.answer.text) if kept.run.status == "failed" else None
        run.become("requires_action" if kept.run.waiting else "failed" if failed else "completed", failed)
        return run

    def of_thread(self, caller: Caller, thread_id: str) -> list[Run]:
        """The caller's runs in a conversation that are still known, the latest first."""
        known = {run.id: run for run in self._runs.values() if run.thread_id == thread_id}
        for record in self.records.list("run", caller.owner, thread_id=thread_id):
            run = known.setdefault(record.id, Run.of(record.body))
            if run.id not in self._active:
                run.catch_up(record.body)
        own = [run for run in known.values() if run.caller.owner == caller.owner]
        return sorted(own, key=lambda run: run.created_at, reverse=True)

    def at_work(self, thread_id: str) -> list[Run]:
        """The runs of a conversation that wait or are worked on, in their order; also those of other servers."""
        here = [run for id in self._active if (run := self._runs[id]).thread_id == thread_id]
        left = self.records.list("run", open=True, thread_id=thread_id)
        elsewhere = [Run.of(record.body) for record in left if record.id not in self._active]
        return sorted([*here, *(run for run in elsewhere if not run.ended)], key=lambda run: run.created_at)

    def waiting(self, caller: Caller, thread_id: str) -> Run:
        """The run that stands still in a conversation, also one of another door: a chat, a command, an earlier server.

        Raises:
            ServingError: 409, none does; 404, the conversation is another's.
        """
        self._check_thread(caller, thread_id)
        left = self.team.threads.unfinished(thread_id)
        if left is None:
            raise ServingError(409, f"nothing is unfinished in thread '{thread_id}'", code="not_waiting")
        if left.run_id in self._runs or self.records.get("run", left.run_id):
            return self.get(caller, left.run_id)
        run = Run(caller, RunRequest(task=left.waiting(thread_id, 0.0).text, thread_id=thread_id), id=left.run_id)
        run.answer = left.waiting(thread_id, 0.0)
        run.become("requires_action")
        self._runs[run.id] = run
        return run

    def cancel(self, run: Run) -> None:
        """Call a run off: it ends at its next event; one that waits does not begin. Another server's is told so."""
        if run.id not in self._active and not run.ended:
            self.records.put("cancel", run.id, run.caller.owner, {}, thread_id=run.thread_id)
            return
        run.called_off.set()
        if run.status == "queued":
            self._active[run.id].cancel()
        elif run.status == "requires_action":
            run.become("cancelled")
            self._ended(run)
            self._show(run)

    def resume(self, run: Run, decisions: Sequence[Decision]) -> None:
        """Go on with a run that waits for a person, or without decisions with one that was broken off.

        Raises:
            ServingError: 409, it does not wait; 422, decisions and calls do not fit; 429, 503: as in `start`.
        """
        if run.status in ("queued", "in_progress", "completed"):
            raise ServingError(409, f"run {run.id} waits for nobody: it is {run.status}", code="not_waiting")
        left = self._left(run)
        if left is None:
            raise ServingError(409, f"nothing is unfinished in thread '{run.thread_id}'", code="not_waiting")
        try:
            left.resume(decisions)
        except MetierError as error:
            raise ServingError(422, error.message, code="wrong_decisions", param="decisions") from error
        self._admit(run.caller, run.asked)
        run.become("queued")
        if not self._save(run):
            raise ServingError(409, f"another server goes on with run {run.id}", code="not_waiting")
        self.records.delete("cancel", run.id)
        self._begin(run, self._from_where_it_stands(run, decisions))

    def _left(self, run: Run) -> Unfinished | None:
        """What of a run can go on."""
        if run.asked.workflow:
            return workflow_left(self.team, run.id)
        return self.team.threads.unfinished(run.thread_id)

    async def drain(self, seconds: float) -> None:
        """Take nothing new and let what goes on end. What is still there after that time is broken off; a durable run
        goes on when the server starts again."""
        self.draining = True
        if self._active:
            await asyncio.wait(list(self._active.values()), timeout=seconds)
        for id in list(self._active):
            self.cancel(self._runs[id])
        if self._active:
            await asyncio.wait(list(self._active.values()), timeout=5)
        if self._telling:
            await asyncio.wait(list(self._telling), timeout=5)
        for task in self._telling:
            task.cancel()  # its record is open: it is told when the server starts again
        self._pool.shutdown(wait=False, cancel_futures=True)

    def check_budget(self, caller: Caller) -> None:
        """Raises `ServingError` (429) where the caller's tokens or seconds of today are used up."""
        if self.used and caller.groups is not None and (over := self.used.over(caller.owner)):
            what, seconds = over
            raise ServingError(429, what, code="budget_used_up", headers={"Retry-After": str(seconds)})

    def _check_thread(self, caller: Caller, thread_id: str) -> None:
        if not all(caller.owns(owner) for owner in self.team.threads.holders(thread_id)):
            raise ServingError(404, f"there is no thread '{thread_id}'", code="thread_not_found")

    def _admit(self, caller: Caller, asked: RunRequest) -> None:
        if self.draining:
            raise ServingError(503, "the server is about to end", code="draining", headers={"Retry-After": "5"})
        self.check_budget(caller)
        if asked.specialist is not None and asked.specialist not in (known := self.team_for(caller).specialists):
            message = unknown("specialist", asked.specialist, known)
            raise ServingError(404, message, code="specialist_not_found", param="specialist")
        if asked.workflow:
            admit_workflow(self.team_for(caller), asked, caller)
        if asked.thread_id and caller.groups is not None:
            self._check_thread(caller, asked.thread_id)
        if self.active >= self.workers + self.queue:
            message = f"{self.active} tasks are being worked on or wait"
            raise ServingError(429, message, code="queue_full", headers={"Retry-After": "1"})

    def _begin(self, run: Run, work: _Work) -> None:
        run.called_off.clear()
        run.begun_at, run.too_late = None, False
        run.trace = Trace()
        self._active[run.id] = asyncio.get_running_loop().create_task(self._drive(run, work))

    async def _drive(self, run: Run, work: _Work) -> None:
        loop = asyncio.get_running_loop()
        late = loop.call_later(self.team.card.limits.seconds, self._end_late, run)
        try:
            await self._those_before(run)
            await _in_pool(self._pool.submit(self._work, run, work, loop))
            waits = run.answer is not None and run.answer.kind == "waiting"
            run.become("requires_action" if waits else "completed")
        except (Cancelled, asyncio.CancelledError):
            if run.too_late:
                seconds = self.team.card.limits.seconds
                run.become("failed", ServingError(504, f"a task may take {seconds:.6g} seconds", code="time_limit"))
            else:
                run.become("cancelled")
        except Exception as error:
            if not isinstance(error, MetierError):
                _log.error("run %s failed", run.id, exc_info=error)
            run.become("failed", error)
        finally:
            late.cancel()
            del self._active[run.id]
            self._count(run)
            if not (self.draining and run.status == "cancelled"):
                self._ended(run)
            self._show(run)
            self._forget(run)

    def _show(self, run: Run) -> None:
        """To metrics and traces."""
        for shown in self.on_ended:
            shown(run)

    def _end_late(self, run: Run) -> None:
        run.too_late = True
        self.cancel(run)

    def _count(self, run: Run) -> None:
        """What was used, for who asked; of an answer that never came, the words that were written."""
        if self.used and run.caller.groups is not None:
            spent = run.answer.usage if run.answer else None
            self.used.add(
                run.caller.owner,
                runs=int(run.status != "requires_action"),
                input_tokens=spent.input_tokens if spent else 0,
                output_tokens=spent.output_tokens if spent else sum(event.name == "token" for event in run.events),
                seconds=time.time() - run.begun_at if run.begun_at else 0.0,
            )

    def _ended(self, run: Run) -> None:
        run.told = False
        self._save(run)
        self._tell(run)

    def _save(self, run: Run, **view: Any) -> bool:
        """Keep how it stands, or will in a moment (`view`); False where another server works on it meanwhile."""
        if not run.durable:
            return True
        undone = not run.ended or (run.webhook is not None and not run.told)
        body = run.record
        body["view"].update(view)
        return self.shift.put("run", Record(run.id, run.caller.owner, run.thread_id, undone, run.created_at, body))

    def _tell(self, run: Run) -> None:
        """Let the webhook know, beside everything else."""
        if run.webhook is None or self._on_end is None:
            return

        async def tell(on_end: Callable[[Run], Awaitable[None]]) -> None:
            await on_end(run)
            self._save(run)

        task = asyncio.get_running_loop().create_task(tell(self._on_end))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _work(self, run: Run, work: _Work, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of the pool: the team works, the loop is told."""
        if run.called_off.is_set():
            raise Cancelled("called off before it began")

        def tell(event: Event) -> None:
            if event.name == "answer":  # before its thread is left: whoever goes on with it must not ask again
                self._save(run, answer=event.data)
            loop.call_soon_threadsafe(run.add, event)

        if not self._save(run, status="in_progress"):
            raise Cancelled("another server works on it")
        loop.call_soon_threadsafe(run.become, "in_progress")
        with cancellable(run.called_off.is_set), traced(run.trace.watch):
            work(tell)

    async def _those_before(self, run: Run) -> None:
        """Wait for those who came before in this conversation, to this server or to another one."""
        while run.asked.thread_id:
            place = (run.created_at, run.id)
            before = [other.id for other in self.at_work(run.thread_id) if (other.created_at, other.id) < place]
            if not before:
                return
            here = [self._active[id] for id in before if id in self._active]
            await (asyncio.wait(here) if here else asyncio.sleep(_LOOK_AGAIN))

    def _forget(self, ended: Run) -> None:
        """Only the last runs can be asked about; one that waits for a person is never forgotten."""
        self._whole.append(ended)
        if len(self._whole) > _KEPT_WHOLE:
            old = self._whole.popleft()
            if old.ended:
                old.events, old.trace = [], Trace()
        for id in list(islice(self._runs, max(0, len(self._runs) - _KEPT))):
            run = self._runs[id]
            if id not in self._active and (run.durable or run.status != "requires_action"):
                del self._runs[id]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


async def _in_pool(work: Future[None]) -> None:
    """Wait for work in the pool; when it is cancelled, until it has really stopped: the next turn may begin then."""
    try:
        await asyncio.wrap_future(work)
    except asyncio.CancelledError:
        if not work.cancelled():
            await asyncio.wait([asyncio.wrap_future(work)])
        raise
