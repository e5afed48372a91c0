"""A2A: the team as an agent for agents of others. Its card at `/.well-known/agent-card.json` has a skill for each
specialist; messages are sent and streamed at `/a2a` (JSON-RPC) and below `/a2a/rest`.

A conversation (`contextId`) is a thread of the team. A task that waits for a person is `input-required`, and goes on
with a message whose data are `{"decisions": […]}`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from a2a.auth.user import User
from a2a.helpers.proto_helpers import get_data_parts, new_data_part, new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events.event_queue import EventQueue
from a2a.server.request_handlers.default_request_handler_v2 import DefaultRequestHandlerV2
from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.routes.jsonrpc_routes import create_jsonrpc_routes
from a2a.server.routes.rest_routes import create_rest_routes
from a2a.server.tasks.inmemory_task_store import InMemoryTaskStore
from a2a.server.tasks.task_updater import TaskUpdater
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Task
from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from ..._version import __version__
from ...agents.team import Team
from ...core.errors import InputError, MetierError
from ...core.types import Answer
from ...tools.policy import Decision
from .caller import Caller, caller
from .openai_answer import LiveText, base_url, detail
from .run import Run
from .run_request import run_request
from .runs import RunService
from .stream import attached

_RPC, _REST = "/a2a", "/a2a/rest"
_KEPT = 2_000
"""Tasks that can still be asked about."""
_Decisions = TypeAdapter(tuple[Decision, ...])


def add_a2a(app: FastAPI) -> None:
    """Give the app its agent card and A2A's routes."""
    service: RunService = app.state.runs
    tasks = _RecentTasks(lambda context: context.user.user_name)
    handler = DefaultRequestHandlerV2(_TeamExecutor(service), tasks, agent_card(service.team.seen_by(()), ""))
    known = _KnownContext()
    routes: list[BaseRoute] = [
        Route("/.well-known/agent-card.json", _show_card),
        *create_jsonrpc_routes(handler, _RPC, context_builder=known, enable_v0_3_compat=True),
        *create_rest_routes(handler, context_builder=known, path_prefix=_REST),
    ]
    for route in routes:
        if isinstance(route, Route):
            app.router.routes.append(route)


async def _show_card(request: Request) -> JSONResponse:
    team = request.app.state.runs.team_for(caller(request))
    return JSONResponse(agent_card_to_dict(agent_card(team, base_url(request))))


def agent_card(team: Team, base: str) -> AgentCard:
    """Who the team is, for agents that reach this server at `base`."""
    people = team.specialists.values()
    return AgentCard(
        name=team.card.name,
        description=team.card.description or f"The team '{team.card.name}' of specialists.",
        version=__version__,
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain", "application/json"],
        supported_interfaces=[
            AgentInterface(url=f"{base}{_RPC}", protocol_binding="JSONRPC", protocol_version="1.0"),
            AgentInterface(url=f"{base}{_REST}", protocol_binding="HTTP+JSON", protocol_version="1.0"),
        ],
        skills=[
            AgentSkill(
                id=person.card.name,
                name=person.card.name,
                description=person.card.description,
                tags=[person.card.style],
                examples=[example for example in person.card.examples if not example.endswith(".jsonl")][:5],
            )
            for person in people
        ],
    )


class _Person(User):
    """A caller, as A2A names the owner of tasks."""

    def __init__(self, who: Caller) -> None:
        self.who = who

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def user_name(self) -> str:
        return f"{self.who.tenant or ''}\n{self.who.user or ''}"


class _KnownContext(DefaultServerCallContextBuilder):
    def build_user(self, request: Request) -> User:
        return _Person(caller(request))


class _RecentTasks(InMemoryTaskStore):
    """The tasks of the last time; the oldest are forgotten."""

    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        self._seen: OrderedDict[str, ServerCallContext] = OrderedDict()

    async def save(self, task: Task, context: ServerCallContext) -> None:
        await super().save(task, context)
        self._seen[task.id] = context
        self._seen.move_to_end(task.id)
        while len(self._seen) > _KEPT:
            oldest, whose = self._seen.popitem(last=False)
            await self.delete(oldest, whose)


class _TeamExecutor(AgentExecutor):
    """Each task of A2A is a run."""

    def __init__(self, service: RunService) -> None:
        self._service = service
        self._runs: OrderedDict[str, Run] = OrderedDict()

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Begin a run, or go on with one that waits, and tell what happens until it ends or waits."""
        message, task, conversation = context.message, context.task_id, context.context_id
        assert message is not None
        assert task is not None
        assert conversation is not None
        updater = TaskUpdater(event_queue, task, conversation)
        if context.current_task is None:
            await event_queue.enqueue_event(new_task_from_user_message(message))
        try:
            run, seen = self._begun(context, task, conversation)
            await updater.start_work()
            await self._follow(run, seen, updater)
        except MetierError as error:
            said = f"{error.message} → {error.hint}" if error.hint else error.message
            message = updater.new_agent_message([new_text_part(said)])
            # Decisions that do not fit leave the question as it was.
            await (updater.requires_input(message) if self._waits(context, task) else updater.failed(message))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Call its run off."""
        task = context.task_id or ""
        if run := self._of(context, task):
            self._service.cancel(run)
        await TaskUpdater(event_queue, task, context.context_id or "").cancel()

    def _of(self, context: RequestContext, task: str) -> Run | None:
        """The run of a task of whoever sent the message."""
        run, who = self._runs.get(task), context.call_context.user
        return run if run and isinstance(who, _Person) and run.caller.owner == who.who.owner else None

    def _waits(self, context: RequestContext, task: str) -> Run | None:
        run = self._of(context, task)
        return run if run and run.status == "requires_action" else None

    def _begun(self, context: RequestContext, task: str, conversation: str) -> tuple[Run, int]:
        """The run, and how many of its events were told before."""
        who = context.call_context.user
        assert isinstance(who, _Person)
        if waiting := self._waits(context, task):
            seen = len(waiting.events)
            self._service.resume(waiting, _decisions(context))
            return waiting, seen
        skill = context.metadata.get("skill") or context.metadata.get("specialist")
        asked = run_request(task=_text(context), thread_id=conversation, specialist=skill)
        run = self._runs[task] = self._service.start(who.who, asked)
        while len(self._runs) > _KEPT:
            self._runs.popitem(last=False)
        return run, 0

    async def _follow(self, run: Run, seen: int, updater: TaskUpdater) -> None:
        live, begun = LiveText(self._service.team_for(run.caller)), False
        with attached(self._service, run):
            async for event in run.follow(seen):
                told = live.hear(event) if event else None
                if told and told[0] == "content":
                    await updater.add_artifact([new_text_part(told[1])], run.id, name="answer", append=begun)
                    begun = True
            answer = await run.finished()
        if answer.kind == "waiting":
            parts = [new_text_part(answer.text), new_data_part(answer.data)]
            await updater.requires_input(updater.new_agent_message(parts))
            return
        await self._end(answer, live, run, updater, begun=begun)

    async def _end(self, answer: Answer, live: LiveText, run: Run, updater: TaskUpdater, *, begun: bool) -> None:
        rest = live.rest(answer.text)
        parts = [*([new_text_part(rest)] if rest else []), new_data_part(detail(answer), "application/json")]
        await updater.add_artifact(parts, run.id, name="answer", append=begun, last_chunk=True)
        await updater.complete()


def _text(context: RequestContext) -> str:
    text = context.get_user_input()
    if not text.strip():
        raise InputError("the message has no text")
    return text


def _decisions(context: RequestContext) -> tuple[Decision, ...]:
    assert context.message is not None
    data = next((part for part in get_data_parts(context.message.parts) if isinstance(part, dict)), {})
    try:
        return _Decisions.validate_python(data.get("decisions"))
    except ValidationError:
        raise InputError("the task waits for decisions", hint='data: {"decisions": [{"type": "approve"}]}') from None
