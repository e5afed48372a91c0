"""`/v1/runs`: tasks for programs. Create, poll, follow, call off, decide about what waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from ...agents.feedback import Note, Rating, note_about, open_inbox
from ...core.types import Value
from ...tools.policy import Decision
from .caller import Whoever
from .errors import ServingError
from .run import Run
from .run_request import RunRequest, RunView, WebhookTarget
from .runs import RunService
from .stream import QUIET, SSE, attached, sse, stream_response, while_connected

run_routes = APIRouter(prefix="/v1", tags=["runs"])

RunId = Annotated[str, Path(max_length=100)]


class NewRun(RunRequest):
    """A run, and how its answer is wanted."""

    stream: bool = False
    """Send its events as they happen; the run is called off when the connection closes."""
    wait: bool = False
    """Answer when the run has ended; the run is called off when the connection closes."""
    webhook: WebhookTarget | None = None
    """Who is told when the run has ended or waits for a person."""

    @property
    def asked(self) -> RunRequest:
        """What is asked of the team."""
        return RunRequest.model_validate(self.model_dump(exclude={"stream", "wait", "webhook"}))


class Decisions(Value):
    """What a person says about the calls that wait."""

    decisions: tuple[Decision, ...] = Field(min_length=1, max_length=100)
    """One for each call, in order."""
    stream: bool = False
    wait: bool = False


def service_of(request: Request) -> RunService:
    """The runs of the server that got the request."""
    return request.app.state.runs


@run_routes.post("/runs", response_model=RunView, status_code=202)
async def create_run(
    asked: NewRun,
    request: Request,
    who: Whoever,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Begin a run. It is accepted (202) and goes on by itself, unless `stream` or `wait` is set."""
    service = service_of(request)
    await request.app.state.webhooks.check(asked.webhook)
    run = service.start(who, asked.asked, key=idempotency_key, durable=True, webhook=asked.webhook)
    return await _respond(request, service, run, stream=asked.stream, wait=asked.wait)


@run_routes.get("/runs/{run_id}", response_model=RunView)
async def get_run(run_id: RunId, request: Request, who: Whoever) -> RunView:
    """How a run stands."""
    return service_of(request).get(who, run_id).view


@run_routes.get("/runs/{run_id}/events", responses=SSE)
async def follow_run(
    run_id: RunId, request: Request, who: Whoever, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    """The events of a run from its beginning on, or after `Last-Event-ID`; who leaves does not end it."""
    run = service_of(request).get(who, run_id)
    after = int(last_event_id) if last_event_id and last_event_id.isdecimal() else 0
    return stream_response(_events(run, after))


@run_routes.post("/runs/{run_id}/cancel", response_model=RunView)
async def cancel_run(run_id: RunId, request: Request, who: Whoever) -> RunView:
    """Call a run off."""
    service = service_of(request)
    run = service.get(who, run_id)
    if run.status in ("queued", "in_progress", "requires_action"):
        service.cancel(run)
    return run.view


@run_routes.post("/runs/{run_id}/resume", response_model=RunView, status_code=202)
async def resume_run(run_id: RunId, decided: Decisions, request: Request, who: Whoever) -> Response:
    """Decide about the calls that a run waits for (`approve`, `edit`, `reject`, `respond`); it goes on."""
    service = service_of(request)
    run = service.get(who, run_id)
    await run.settled()
    seen = len(run.events)
    service.resume(run, decided.decisions)
    return await _respond(request, service, run, stream=decided.stream, wait=decided.wait, after=seen)


async def _respond(
    request: Request, service: RunService, run: Run, *, stream: bool, wait: bool, after: int = 0
) -> Response:
    if stream:
        await while_connected(request, run.begun())
        return stream_response(_attached_events(service, run, after), {"Location": f"/v1/runs/{run.id}"})
    status = 202
    if wait:
        with attached(service, run):
            await while_connected(request, run.finished())
        status = 200
    return JSONResponse(run.view.model_dump(mode="json"), status, {"Location": f"/v1/runs/{run.id}"})


async def _attached_events(service: RunService, run: Run, after: int) -> AsyncIterator[bytes]:
    with attached(service, run):
        async for part in _events(run, after):
            yield part


async def _events(run: Run, after: int) -> AsyncIterator[bytes]:
    """`run` with the run as it is, each event under its own name, `end` with the run as it ended."""
    yield sse(run.view, event="run")
    number = after
    async for event in run.follow(after):
        if event is None:
            yield QUIET
            continue
        number += 1
        yield sse(event, event=event.name, id=number)
    yield sse(run.view, event="end")


class FeedbackRequest(Value):
    """What an answer was worth."""

    verdict: Rating
    correction: str | None = Field(default=None, max_length=20_000)
    """The right answer; goes with `correction`."""
    run_id: str | None = Field(default=None, max_length=100)
    """Which answer of the conversation is meant; left out: the last one."""
    thread_id: str | None = Field(default=None, max_length=200)
    """Left out: the conversation of the run, as long as this server knows it."""
    specialist: str | None = Field(default=None, max_length=200)
    """Whom it concerns; left out: who answered."""


@run_routes.post("/feedback", status_code=201)
async def give_feedback(said: FeedbackRequest, request: Request, who: Whoever) -> Note:
    """Say what an answer was worth; the team's owner reviews it, and a correction may become an example."""
    service = service_of(request)
    about: dict[str, Any] = {"correction": said.correction, "specialist": said.specialist}
    if said.thread_id is None:
        if said.run_id is None:
            raise ServingError(422, "say which answer: run_id or thread_id", param="run_id")
        run = service.get(who, said.run_id)
        if run.answer is None:
            raise ServingError(409, f"run '{said.run_id}' has no answer yet", param="run_id")
        note = note_about(run.asked.task, run.answer, service.team_for(who).specialists, said.verdict, **about)
        await asyncio.to_thread(open_inbox(service.team.blueprint).add, note)
        return note
    owner = service.team.threads.owner(said.thread_id)
    if owner is None or not who.owns(owner):
        raise ServingError(404, f"there is no thread '{said.thread_id}'", code="thread_not_found", param="thread_id")
    about |= {"thread_id": said.thread_id, "run_id": said.run_id}
    return await asyncio.to_thread(service.team_for(who).feedback, said.verdict, **about)
