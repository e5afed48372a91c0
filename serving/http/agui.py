"""AG-UI: the team for user interfaces of others, at `POST /agui`. Events say who answers (as a subagent), which tools
were used, and the answer as it is written. Where a person must decide, the run ends with interrupts, which the next
one's `resume` answers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

from ag_ui.core.events import (
    BaseEvent,
    CustomEvent,
    Interrupt,
    ReasoningEndEvent,
    ReasoningMessageContentEvent,
    ReasoningMessageEndEvent,
    ReasoningMessageStartEvent,
    ReasoningStartEvent,
    RunAgentInput,
    RunErrorEvent,
    RunFinishedCancelledOutcome,
    RunFinishedEvent,
    RunFinishedInterruptOutcome,
    RunFinishedSuccessOutcome,
    RunStartedEvent,
    SubagentFinishedEvent,
    SubagentStartedEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    TokenUsage,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)
from ag_ui.encoder import EventEncoder
from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from ...core.run import Event
from ...core.types import Answer, Turn
from ...tools.policy import ApprovalRequest, ApprovalResponse, Decision, Reject
from .caller import Caller, Whoever
from .errors import ServingError, error_body
from .openai_answer import ContentPart, LiveText, detail, text_of
from .run import Run
from .run_request import RunRequest, run_request
from .runs import RunService
from .stream import QUIET, SSE, attached, stream_response

agui_routes = APIRouter(tags=["ag-ui"])

_Decision: TypeAdapter[Decision] = TypeAdapter(Decision)
_LONGEST_HISTORY = 100
"""Messages before the last one that are looked at."""


@agui_routes.post("/agui", response_model=None, responses=SSE)
async def run_agent(asked: RunAgentInput, request: Request, who: Whoever) -> Response:
    """Answer the last message, or go on with a run that waited; the events are AG-UI's."""
    service: RunService = request.app.state.runs
    if asked.resume:
        run, seen = _resumed(service, who, asked)
    else:
        run, seen = service.start(who, _request(asked)), 0
    return stream_response(_parts(service, run, seen, asked))


def _request(asked: RunAgentInput) -> RunRequest:
    """The interface keeps the conversation, so all that matters comes with each run."""
    turns = [turn for message in asked.messages[-_LONGEST_HISTORY - 1 :] for turn in _turn(message)]
    if not turns or turns[-1].role != "user":
        raise ServingError(400, "the last message must be a user's, with text", param="messages")
    props = asked.forwarded_props if isinstance(asked.forwarded_props, dict) else {}
    specialist = props.get("specialist")
    return run_request(
        task=turns[-1].text, history=tuple(turns[:-1]), specialist=str(specialist) if specialist else None
    )


def _turn(message: object) -> Iterator[Turn]:
    role, content = getattr(message, "role", ""), getattr(message, "content", None)
    if role not in ("user", "assistant"):
        return
    parts = (
        [ContentPart.model_validate(part.model_dump()) for part in content] if isinstance(content, list) else content
    )
    if text := text_of(parts, "messages"):
        yield Turn(role=role, text=text)


def _resumed(service: RunService, who: Caller, asked: RunAgentInput) -> tuple[Run, int]:
    """The run that goes on, and how many of its events were told before; interrupts are `RUN/NUMBER`."""
    answers = {entry.interrupt_id: entry for entry in asked.resume or ()}
    run = service.get(who, next(iter(answers)).rpartition("/")[0])
    waiting = ApprovalRequest.model_validate(run.answer.data) if run.answer and run.answer.kind == "waiting" else None
    ids = [f"{run.id}/{number}" for number, _ in enumerate(waiting.action_requests)] if waiting else []
    if set(ids) != set(answers):
        raise ServingError(422, f"the run waits for {', '.join(ids) or 'nothing'}", param="resume")
    seen = len(run.events)
    try:
        decided = [
            Reject() if answers[id].status == "cancelled" else _Decision.validate_python(answers[id].payload)
            for id in ids
        ]
    except ValidationError:
        raise ServingError(422, "a payload is no decision", param="resume", hint='{"type": "approve"}') from None
    service.resume(run, decided)
    return run, seen


async def _parts(service: RunService, run: Run, seen: int, asked: RunAgentInput) -> AsyncIterator[bytes]:
    encoder, told = EventEncoder(), _Told(service, run)
    yield encoder.encode(RunStartedEvent(thread_id=asked.thread_id, run_id=asked.run_id)).encode()
    try:
        with attached(service, run):
            async for event in run.follow(seen):
                if event is None:
                    yield QUIET
                    continue
                for said in told.hear(event):
                    yield encoder.encode(said).encode()
            if run.status != "cancelled":
                for said in told.end(await run.finished()):
                    yield encoder.encode(said).encode()
        yield encoder.encode(_finished(run, asked)).encode()
    except Exception as error:
        said = error_body(error)["error"]
        yield encoder.encode(RunErrorEvent(message=said["message"], code=said["code"])).encode()


class _Told:
    """The events of a run as AG-UI says them."""

    def __init__(self, service: RunService, run: Run) -> None:
        self._run, self._live = run, LiveText(service.team_for(run.caller))
        self._subagents: list[str] = []
        self._open: str | None = None
        self._calls = 0

    def hear(self, event: Event) -> Iterator[BaseEvent]:
        """What one event of ours is."""
        if event.specialist and event.name not in ("answer", "waiting"):
            yield from self._introduced(event.specialist)
        if told := self._live.hear(event):
            yield from self._written(*told, self._by(event.specialist))
        elif event.name == "tool":
            yield from self._called(event)
        elif event.name in ("route", "retrieve", "handoff", "guard"):
            yield CustomEvent(name=f"metier.{event.name}", value=event.data, subagent_run_id=self._by(event.specialist))

    def end(self, answer: Answer) -> Iterator[BaseEvent]:
        """The rest of the answer, and what stands behind it."""
        by = self._by(answer.specialist)
        if answer.kind != "waiting" and (rest := self._live.rest(answer.text)):
            yield from self._written("content", rest, by)
        yield from self._closed()
        yield CustomEvent(name="metier.answer", value=detail(answer))
        for name in self._subagents:
            yield SubagentFinishedEvent(subagent_run_id=self._name(name))

    def _name(self, specialist: str) -> str:
        return f"{self._run.id}:{specialist}"

    def _by(self, specialist: str | None) -> str | None:
        return self._name(specialist) if specialist in self._subagents else None

    def _introduced(self, specialist: str) -> Iterator[BaseEvent]:
        if specialist not in self._subagents:
            self._subagents.append(specialist)
            yield SubagentStartedEvent(subagent_run_id=self._name(specialist), name=specialist)

    def _written(self, kind: str, text: str, by: str | None) -> Iterator[BaseEvent]:
        id = f"{self._run.id}-{kind}"
        if self._open != kind:
            yield from self._closed()
            self._open = kind
            if kind == "content":
                yield TextMessageStartEvent(message_id=id, role="assistant", subagent_run_id=by)
            else:
                yield ReasoningStartEvent(message_id=id, subagent_run_id=by)
                yield ReasoningMessageStartEvent(message_id=id, role="reasoning", subagent_run_id=by)
        content = TextMessageContentEvent if kind == "content" else ReasoningMessageContentEvent
        yield content(message_id=id, delta=text, subagent_run_id=by)

    def _closed(self) -> Iterator[BaseEvent]:
        kind, self._open = self._open, None
        id = f"{self._run.id}-{kind}"
        if kind == "content":
            yield TextMessageEndEvent(message_id=id)
        elif kind:
            yield ReasoningMessageEndEvent(message_id=id)
            yield ReasoningEndEvent(message_id=id)

    def _called(self, event: Event) -> Iterator[BaseEvent]:
        self._calls += 1
        id, by, data = f"{self._run.id}-call-{self._calls}", self._by(event.specialist), event.data
        arguments = json.dumps(data.get("arguments", {}), ensure_ascii=False, default=str)
        yield ToolCallStartEvent(tool_call_id=id, tool_call_name=data["name"], subagent_run_id=by)
        yield ToolCallArgsEvent(tool_call_id=id, delta=arguments, subagent_run_id=by)
        yield ToolCallEndEvent(tool_call_id=id, subagent_run_id=by)
        result = data.get("error") or "done"
        yield ToolCallResultEvent(
            message_id=f"{id}-result", tool_call_id=id, content=result, role="tool", subagent_run_id=by
        )


def _finished(run: Run, asked: RunAgentInput) -> RunFinishedEvent:
    answer = run.answer
    if run.status == "cancelled" or answer is None:
        outcome = RunFinishedCancelledOutcome()
    elif answer.kind == "waiting":
        outcome = RunFinishedInterruptOutcome(interrupts=_interrupts(run, answer))
    else:
        outcome = RunFinishedSuccessOutcome()
    spent = answer.usage if answer else None
    usage = [TokenUsage(input_tokens=spent.input_tokens, output_tokens=spent.output_tokens)] if spent else None
    return RunFinishedEvent(thread_id=asked.thread_id, run_id=asked.run_id, outcome=outcome, usage=usage)


def _interrupts(run: Run, answer: Answer) -> list[Interrupt]:
    schema = ApprovalResponse.model_json_schema()
    decision = {**schema["properties"]["decisions"]["items"], "$defs": schema["$defs"]}
    return [
        Interrupt(
            id=f"{run.id}/{number}",
            reason="approval",
            message=f"{action.name}({json.dumps(action.args, ensure_ascii=False, default=str)}): {action.description}",
            response_schema=decision,
            metadata={"name": action.name, "args": action.args},
        )
        for number, action in enumerate(ApprovalRequest.model_validate(answer.data).action_requests)
    ]
