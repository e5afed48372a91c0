"""The routes of a LangGraph server, for `langgraph_sdk` and the agent chat UI: assistants, threads, runs.

The team is the assistant `metier`, each specialist one of its own (`metier/NAME`); all of them share the team's graph.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..._version import __version__
from ...agents.team import Team
from ...core.errors import unknown
from ...core.types import Turn
from ...tools.policy import Decision, decision
from .caller import Caller, Whoever
from .errors import ServingError
from .langgraph_stream import follow
from .openai_answer import TEAM, ContentPart, model_names, text_of
from .run import Run
from .run_request import RunRequest, WebhookTarget
from .runs import RunService
from .stream import SSE, attached, stream_response, while_connected
from .threads import ThreadIndex, last_values

langgraph_routes = APIRouter(tags=["langgraph"])

_Result = TypeVar("_Result")
_ThreadId = Annotated[str, Path(max_length=200)]
_RunId = Annotated[str, Path(max_length=200)]
_AGES_AGO = "2026-01-01T00:00:00+00:00"
_STATUS = {
    "queued": "pending",
    "in_progress": "running",
    "requires_action": "interrupted",
    "completed": "success",
    "failed": "error",
    "cancelled": "interrupted",
}


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore")


class NewThread(_Wire):
    """A conversation to begin."""

    thread_id: str | None = Field(default=None, min_length=1, max_length=200)
    metadata: dict[str, Any] | None = None
    if_exists: Literal["raise", "do_nothing"] = "raise"


class ThreadUpdate(_Wire):
    """What to note of a conversation."""

    metadata: dict[str, Any] | None = None


class ThreadSearch(_Wire):
    """Which conversations are meant."""

    metadata: dict[str, Any] | None = None
    ids: list[str] | None = Field(default=None, max_length=1_000)
    status: str | None = None
    limit: int = Field(default=10, ge=1, le=1_000)
    offset: int = Field(default=0, ge=0, le=1_000_000)


class HistoryRequest(_Wire):
    """How far back to look."""

    limit: int = Field(default=10, ge=1, le=1_000)


class GraphMessage(_Wire):
    """A message of the input, with LangChain's names of types or OpenAI's roles."""

    type: str | None = Field(default=None, max_length=50)
    role: str | None = Field(default=None, max_length=50)
    content: str | list[ContentPart] = ""

    @property
    def whose(self) -> str:
        """`user`, `assistant` or another role."""
        kind = self.role or self.type or ""
        return {"human": "user", "ai": "assistant"}.get(kind, kind)


class GraphInput(_Wire):
    """What is put into the graph."""

    messages: list[GraphMessage] = Field(default_factory=list, max_length=10_000)

    @field_validator("messages", mode="before")
    @classmethod
    def _as_list(cls, given: Any) -> Any:
        """A single message, and pairs of a role and a text, are fine as well."""
        rows = given if isinstance(given, list) else [given]
        pairs = [{"role": r[0], "content": r[1]} if isinstance(r, list) and len(r) == 2 else r for r in rows]
        return [{"role": "user", "content": row} if isinstance(row, str) else row for row in pairs]


class GraphCommand(_Wire):
    """How an interrupted graph goes on."""

    resume: Any = None


class GraphRun(_Wire):
    """A run of the graph."""

    assistant_id: str = Field(default=TEAM, max_length=300)
    input: GraphInput | None = None
    command: GraphCommand | None = None
    metadata: dict[str, Any] | None = None
    stream_mode: str | list[str] = "values"
    multitask_strategy: Literal["reject", "interrupt", "rollback", "enqueue"] = "enqueue"
    if_not_exists: Literal["create", "reject"] = "reject"
    on_disconnect: Literal["cancel", "continue"] = "cancel"
    webhook: str | None = Field(default=None, max_length=2_000)

    @property
    def modes(self) -> list[str]:
        """The stream modes."""
        return [self.stream_mode] if isinstance(self.stream_mode, str) else self.stream_mode

    def turns(self) -> list[Turn]:
        """What was said, oldest first; the last is the task.

        Raises:
            ServingError: 422, the last message is not a person's.
        """
        messages = self.input.messages if self.input else []
        said = [(m.whose, text_of(m.content, "input.messages")) for m in messages]
        turns = [Turn(role=role, text=text) for role, text in said if role in ("user", "assistant") and text.strip()]
        if not turns or turns[-1].role != "user":
            raise ServingError(422, "the last message of input must be a person's, with text", param="input.messages")
        return turns


# The server and its assistants.


@langgraph_routes.get("/ok")
async def ok() -> dict[str, bool]:
    """It lives."""
    return {"ok": True}


@langgraph_routes.get("/info")
async def info(who: Whoever) -> dict[str, Any]:
    """What this server is."""
    return {"version": __version__, "flags": {"assistants": True, "crons": False, "store": False}}


@langgraph_routes.post("/assistants/search")
async def search_assistants(request: Request, who: Whoever, wanted: dict[str, Any] | None = None) -> list[Any]:
    """The team and its specialists."""
    team = _team(request, who)
    graph = (wanted or {}).get("graph_id")
    return [_assistant(team, name) for name in model_names(team) if graph in (None, name)]


@langgraph_routes.get("/assistants/{assistant_id:path}/schemas")
async def assistant_schemas(assistant_id: str, request: Request, who: Whoever) -> dict[str, Any]:
    """What goes into the graph and what comes out."""
    name = _assistant_name(_team(request, who), assistant_id)
    schema = {"type": "object", "properties": {"messages": {"type": "array", "items": {"type": "object"}}}}
    return {
        "graph_id": name,
        "input_schema": schema,
        "output_schema": schema,
        "state_schema": schema,
        "config_schema": {},
        "context_schema": {},
    }


@langgraph_routes.get("/assistants/{assistant_id:path}/graph")
async def assistant_graph(assistant_id: str, request: Request, who: Whoever) -> dict[str, Any]:
    """The graph's stations and edges."""
    team = _team(request, who)
    _assistant_name(team, assistant_id)
    return await asyncio.to_thread(lambda: team.graph.get_graph().to_json())


@langgraph_routes.get("/assistants/{assistant_id:path}")
async def get_assistant(assistant_id: str, request: Request, who: Whoever) -> dict[str, Any]:
    """One of them."""
    team = _team(request, who)
    return _assistant(team, _assistant_name(team, assistant_id))


def _assistant_uuid(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


def _assistant_name(team: Team, asked: str) -> str:
    """The model's name of an assistant, which may be called by its UUID, or as agent templates call theirs.

    Raises:
        ServingError: 404, there is none.
    """
    known = {name: name for name in model_names(team)} | {_assistant_uuid(n): n for n in model_names(team)}
    known |= {"agent": TEAM, team.card.name: TEAM}
    if asked not in known:
        message = unknown("assistant", asked, model_names(team))
        raise ServingError(404, message, code="assistant_not_found", param="assistant_id")
    return known[asked]


def _assistant(team: Team, name: str) -> dict[str, Any]:
    specialist = team.specialists.get(name.partition("/")[2])
    return {
        "assistant_id": _assistant_uuid(name),
        "graph_id": name,
        "name": name,
        "description": specialist.card.description if specialist else None,
        "config": {},
        "context": {},
        "metadata": {"created_by": "system"},
        "version": 1,
        "created_at": _AGES_AGO,
        "updated_at": _AGES_AGO,
    }


# Threads. What reads or changes the store of threads is done in a thread of its own.


async def _with_threads(request: Request, do: Callable[[ThreadIndex], _Result]) -> _Result:
    return await asyncio.to_thread(do, request.app.state.threads)


@langgraph_routes.post("/threads")
async def create_thread(
    request: Request, who: Whoever, asked: Annotated[NewThread, Body(default_factory=NewThread)]
) -> dict[str, Any]:
    """Begin a conversation."""
    more = {"if_exists": asked.if_exists}
    return await _with_threads(request, lambda t: t.create(who, asked.thread_id, asked.metadata or {}, **more))


@langgraph_routes.post("/threads/search")
async def search_threads(
    request: Request, who: Whoever, asked: Annotated[ThreadSearch, Body(default_factory=ThreadSearch)]
) -> list[dict[str, Any]]:
    """The caller's conversations, the latest first."""
    return await _with_threads(request, lambda t: t.search(who, **asked.model_dump()))


@langgraph_routes.post("/threads/count")
async def count_threads(
    request: Request, who: Whoever, asked: Annotated[ThreadSearch, Body(default_factory=ThreadSearch)]
) -> int:
    """How many there are."""
    more = {**asked.model_dump(), "limit": 10**9, "offset": 0}
    return len(await _with_threads(request, lambda t: t.search(who, **more)))


@langgraph_routes.get("/threads/{thread_id}")
async def get_thread(thread_id: _ThreadId, request: Request, who: Whoever) -> dict[str, Any]:
    """One conversation, with what it holds."""
    return await _with_threads(request, lambda t: t.get(who, thread_id))


@langgraph_routes.patch("/threads/{thread_id}")
async def update_thread(thread_id: _ThreadId, request: Request, who: Whoever, asked: ThreadUpdate) -> dict[str, Any]:
    """Note something of it."""
    return await _with_threads(request, lambda t: t.update(who, thread_id, asked.metadata or {}))


@langgraph_routes.delete("/threads/{thread_id}", status_code=204)
async def delete_thread(thread_id: _ThreadId, request: Request, who: Whoever) -> Response:
    """Forget it."""
    await _with_threads(request, lambda t: t.delete(who, thread_id))
    return Response(status_code=204)


@langgraph_routes.post("/threads/{thread_id}/copy")
async def copy_thread(thread_id: _ThreadId, request: Request, who: Whoever) -> dict[str, Any]:
    """The same conversation once more."""
    return await _with_threads(request, lambda t: t.copy(who, thread_id))


@langgraph_routes.get("/threads/{thread_id}/state")
async def get_state(thread_id: _ThreadId, request: Request, who: Whoever) -> dict[str, Any]:
    """What the graph holds."""
    return (await _with_threads(request, lambda t: t.moments(who, thread_id, 1)))[0]


@langgraph_routes.get("/threads/{thread_id}/history")
async def get_history(
    thread_id: _ThreadId, request: Request, who: Whoever, limit: Annotated[int, Query(ge=1, le=1_000)] = 10
) -> list[dict[str, Any]]:
    """What it held, the latest first."""
    return await _with_threads(request, lambda t: t.moments(who, thread_id, limit))


@langgraph_routes.post("/threads/{thread_id}/history")
async def post_history(
    thread_id: _ThreadId,
    request: Request,
    who: Whoever,
    asked: Annotated[HistoryRequest, Body(default_factory=HistoryRequest)],
) -> list[dict[str, Any]]:
    """What it held, the latest first."""
    return await _with_threads(request, lambda t: t.moments(who, thread_id, asked.limit))


# Runs.


@langgraph_routes.post("/runs/stream", response_model=None, responses=SSE)
async def stream_alone(asked: GraphRun, request: Request, who: Whoever) -> Response:
    """A run that belongs to no conversation, as it goes on."""
    return await _streamed(request, await _begin(request, who, None, asked), asked)


@langgraph_routes.post("/runs/wait", response_model=None)
async def wait_alone(asked: GraphRun, request: Request, who: Whoever) -> Response:
    """A run that belongs to no conversation, when it has ended."""
    return await _waited(request, await _begin(request, who, None, asked), asked)


@langgraph_routes.post("/runs")
async def run_alone(asked: GraphRun, request: Request, who: Whoever) -> dict[str, Any]:
    """A run that belongs to no conversation, in the background."""
    return _view(request, await _begin(request, who, None, asked))


@langgraph_routes.post("/threads/{thread_id}/runs/stream", response_model=None, responses=SSE)
async def stream_run(thread_id: _ThreadId, asked: GraphRun, request: Request, who: Whoever) -> Response:
    """The next turn of a conversation, as it goes on."""
    return await _streamed(request, await _begin(request, who, thread_id, asked), asked)


@langgraph_routes.post("/threads/{thread_id}/runs/wait", response_model=None)
async def wait_run(thread_id: _ThreadId, asked: GraphRun, request: Request, who: Whoever) -> Response:
    """The next turn of a conversation, when it has ended."""
    return await _waited(request, await _begin(request, who, thread_id, asked), asked)


@langgraph_routes.post("/threads/{thread_id}/runs")
async def start_run(thread_id: _ThreadId, asked: GraphRun, request: Request, who: Whoever) -> dict[str, Any]:
    """The next turn of a conversation, in the background."""
    return _view(request, await _begin(request, who, thread_id, asked))


@langgraph_routes.get("/threads/{thread_id}/runs")
async def list_runs(
    thread_id: _ThreadId, request: Request, who: Whoever, limit: Annotated[int, Query(ge=1, le=1_000)] = 10
) -> list[dict[str, Any]]:
    """The runs of a conversation, the latest first."""
    await _with_threads(request, lambda t: t.get(who, thread_id))
    return [_view(request, run) for run in _service(request).of_thread(who, thread_id)[:limit]]


@langgraph_routes.get("/threads/{thread_id}/runs/{run_id}")
async def look_at_run(thread_id: _ThreadId, run_id: _RunId, request: Request, who: Whoever) -> dict[str, Any]:
    """How a run stands."""
    return _view(request, _of_thread(request, who, thread_id, run_id))


@langgraph_routes.get("/threads/{thread_id}/runs/{run_id}/join", response_model=None)
async def join_run(thread_id: _ThreadId, run_id: _RunId, request: Request, who: Whoever) -> Response:
    """Wait for a run."""
    run = _of_thread(request, who, thread_id, run_id)
    return await _waited(request, (run, 0), GraphRun(on_disconnect="continue"))


@langgraph_routes.get("/threads/{thread_id}/runs/{run_id}/stream", response_model=None, responses=SSE)
async def join_stream(
    thread_id: _ThreadId,
    run_id: _RunId,
    request: Request,
    who: Whoever,
    stream_mode: Annotated[list[str] | None, Query(max_length=20)] = None,
    cancel_on_disconnect: bool = False,
) -> Response:
    """Follow a run from its beginning on."""
    run = _of_thread(request, who, thread_id, run_id)
    keep = "cancel" if cancel_on_disconnect else "continue"
    return await _streamed(request, (run, 0), GraphRun(stream_mode=stream_mode or ["values"], on_disconnect=keep))


@langgraph_routes.post("/threads/{thread_id}/runs/{run_id}/cancel", status_code=202)
async def cancel_thread_run(
    thread_id: _ThreadId, run_id: _RunId, request: Request, who: Whoever, wait: bool = False
) -> Response:
    """Call a run off."""
    run = _of_thread(request, who, thread_id, run_id)
    if run.status in ("queued", "in_progress"):
        _service(request).cancel(run)
        if wait:
            await while_connected(request, asyncio.wait([asyncio.ensure_future(run.finished())]))
    return Response(status_code=202)


@langgraph_routes.delete("/threads/{thread_id}/runs/{run_id}", status_code=204)
async def delete_run(thread_id: _ThreadId, run_id: _RunId, request: Request, who: Whoever) -> Response:
    """Forget a run that has ended; what was said in it stays in its conversation."""
    run = _of_thread(request, who, thread_id, run_id)
    if run.status in ("queued", "in_progress"):
        raise ServingError(409, f"run {run.id} is at work", code="run_active")
    _service(request).records.delete("run", run.id)
    return Response(status_code=204)


def _service(request: Request) -> RunService:
    return request.app.state.runs


def _team(request: Request, who: Caller) -> Team:
    return _service(request).team_for(who)


def _of_thread(request: Request, who: Caller, thread_id: str, run_id: str) -> Run:
    run = _service(request).get(who, run_id)
    if run.thread_id != thread_id:
        raise ServingError(404, f"there is no run '{run_id}' in thread '{thread_id}'", code="run_not_found")
    return run


async def _begin(request: Request, who: Caller, thread_id: str | None, asked: GraphRun) -> tuple[Run, int]:
    """The run, and how many of its events are from before."""
    service = _service(request)
    name = _assistant_name(service.team_for(who), asked.assistant_id)
    hook = WebhookTarget(url=asked.webhook) if asked.webhook else None
    await request.app.state.webhooks.check(hook)
    if thread_id is not None:
        noted = {"graph_id": name, "assistant_id": _assistant_uuid(name), **(asked.metadata or {})}
        create = asked.if_not_exists == "create"
        await _with_threads(request, lambda t: t.admit(who, thread_id, noted, create=create))
        _make_room(service, thread_id, asked.multitask_strategy)
        if asked.input is None or not asked.input.messages:
            run = await asyncio.to_thread(service.waiting, who, thread_id)
            seen = len(run.events)
            service.resume(run, _decisions(asked.command.resume if asked.command else None))
            return run, seen
    *history, task = asked.turns()
    kept: dict[str, Any] = {"thread_id": thread_id} if thread_id else {"history": history[-100:]}
    specialist = name.partition("/")[2] or None
    run = service.start(who, RunRequest(task=task.text, specialist=specialist, **kept), durable=True, webhook=hook)
    return run, 0


def _make_room(service: RunService, thread_id: str, strategy: str) -> None:
    """What happens to the turns that are still at work in the conversation; `enqueue` waits for them.

    Raises:
        ServingError: 409 for `reject`.
    """
    at_work = service.at_work(thread_id)
    if at_work and strategy == "reject":
        raise ServingError(409, f"thread '{thread_id}' is busy", code="thread_busy")
    if strategy in ("interrupt", "rollback"):
        for run in at_work:
            service.cancel(run)


def _decisions(resume: Any) -> list[Decision]:
    """What a person decided, in the words of the newer and of the older agent inbox.

    Raises:
        ServingError: 422, it is no decision.
    """
    if isinstance(resume, dict) and "decisions" not in resume and "type" not in resume:
        resume = [
            d for given in resume.values() for d in (given.get("decisions", []) if isinstance(given, dict) else [])
        ]
    rows = resume.get("decisions", [resume]) if isinstance(resume, dict) else resume
    rows = [] if rows is None else rows if isinstance(rows, list) else [rows]
    try:
        return [decision.validate_python(_newer(row)) for row in rows]
    except ValidationError:
        forms = '{"decisions": [{"type": "approve" | "edit" | "reject" | "respond", …}]}'
        raise ServingError(422, "this is no decision", param="command.resume", hint=forms) from None


def _newer(row: Any) -> Any:
    """A decision of the older inbox (`accept`, `ignore`, `response`, `edit`) as the newer one says it."""
    if row in ("approve", "reject"):
        return {"type": row}
    kind, given = (row.get("type"), row.get("args")) if isinstance(row, dict) else (None, None)
    if kind == "accept":
        return {"type": "approve"}
    if kind == "ignore":
        return {"type": "reject"}
    if kind == "response":
        return {"type": "respond", "message": str(given)}
    if kind == "edit" and isinstance(given, dict):
        return {"type": "edit", "edited_action": {"name": given.get("action"), "args": given.get("args")}}
    return row


def _view(request: Request, run: Run | tuple[Run, int]) -> dict[str, Any]:
    run = run if isinstance(run, Run) else run[0]
    specialist = run.asked.specialist
    name = f"{TEAM}/{specialist}" if specialist else TEAM
    return {
        "run_id": run.id,
        "thread_id": run.thread_id,
        "assistant_id": _assistant_uuid(name),
        "created_at": _iso(run.created_at),
        "updated_at": _iso(run.ended_at or run.created_at),
        "status": _STATUS[run.status],
        "metadata": {},
        "kwargs": {},
        "multitask_strategy": "enqueue",
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _place(run: Run) -> str:
    """Names of threads may hold anything, a header may not."""
    return f"/threads/{quote(run.thread_id, safe='')}/runs/{run.id}"


def _headers(run: Run) -> dict[str, str]:
    place = _place(run)
    return {"Content-Location": place, "Location": f"{place}/stream"}


async def _streamed(request: Request, begun: tuple[Run, int], asked: GraphRun) -> Response:
    service, (run, seen) = _service(request), begun

    async def parts() -> AsyncIterator[bytes]:
        if asked.on_disconnect == "continue":
            async for part in follow(service, run, asked.modes, seen):
                yield part
            return
        with attached(service, run):
            async for part in follow(service, run, asked.modes, seen):
                yield part

    return stream_response(parts(), _headers(run))


async def _waited(request: Request, begun: tuple[Run, int], asked: GraphRun) -> Response:
    service, (run, _) = _service(request), begun
    if asked.on_disconnect == "continue":
        await while_connected(request, asyncio.wait([asyncio.ensure_future(run.finished())]))
    else:
        with attached(service, run):
            await while_connected(request, asyncio.wait([asyncio.ensure_future(run.finished())]))
    if run.error is not None or run.status == "cancelled":
        error = {
            "error": type(run.error).__name__ if run.error else "Cancelled",
            "message": str(run.error or "cancelled"),
        }
        values: dict[str, Any] = {"__error__": error}
    else:
        values = await asyncio.to_thread(last_values, service.team, run)
    headers = {**_headers(run), "Location": f"{_place(run)}/join"}
    return JSONResponse(values, headers=headers)
