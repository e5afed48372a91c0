"""`/v1/responses`: the newer of OpenAI's two APIs for answers. A response is a run; one that goes on from another
(`previous_response_id`) is the next turn of its thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from ...core.types import Answer, Turn
from .caller import Caller, Whoever
from .errors import ServingError, error_body
from .openai_answer import (
    TEAM,
    ContentPart,
    JsonSchema,
    LiveText,
    ResponseFormat,
    as_json,
    base_url,
    citations_of,
    detail,
    model_of,
    said,
    specialist_of,
    text_of,
)
from .run import Run
from .run_request import RunRequest
from .runs import RunService
from .stream import QUIET, SSE, attached, sse, stream_response, while_connected

response_routes = APIRouter(prefix="/v1/responses", tags=["openai"])

ResponseId = Annotated[str, Path(max_length=100)]
_PREFIX = "resp_"


class InputItem(BaseModel):
    """A message, or something that the team does not read."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(default="message", max_length=100)
    role: str = Field(default="", max_length=100)
    content: str | list[ContentPart] | None = None


class TextFormat(BaseModel):
    """`text.format`: as `response_format` of chat completions, with less nesting."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    type: str = "text"
    name: str = Field(default="answer", max_length=200)
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")


class TextOptions(BaseModel):
    """How the text should look."""

    model_config = ConfigDict(extra="ignore")

    format: TextFormat | None = None


class ResponseRequest(BaseModel):
    """A response. What is not listed is the business of the specialists' cards."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(default=TEAM, max_length=300)
    input: str | list[InputItem] = Field(min_length=1, max_length=200_000)
    previous_response_id: str | None = Field(default=None, max_length=100)
    stream: bool | None = False
    background: bool | None = False
    store: bool | None = True
    """Keep it, so that it can be fetched after the server was started anew."""
    text: TextOptions | None = None
    metadata: dict[str, Any] | None = None

    def turns(self) -> list[Turn]:
        """What was said, oldest first; the last is the task.

        Raises:
            ServingError: 400, the last message is not a user's.
        """
        items = [InputItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        spoken = [(i.role, text_of(i.content, "input")) for i in items if i.type == "message"]
        turns = [Turn(role=role, text=text) for role, text in spoken if role in ("user", "assistant") and text.strip()]
        if not turns or turns[-1].role != "user":
            raise ServingError(400, "the last message must be a user's, with text", param="input")
        return turns

    @property
    def formatted(self) -> ResponseFormat | None:
        """The format, where it is not plain text.

        Raises:
            ServingError: 400, there is no such format.
        """
        wanted = self.text.format if self.text else None
        if wanted is None or wanted.type == "text":
            return None
        schema = JsonSchema(name=wanted.name, schema=wanted.schema_) if wanted.type == "json_schema" else None
        format = ResponseFormat(type=wanted.type, json_schema=schema)
        format.check()
        return format


@response_routes.post("", response_model=None, responses=SSE)
async def create_response(
    asked: ResponseRequest,
    request: Request,
    who: Whoever,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Answer; with `background` at once, and the answer is fetched later."""
    service: RunService = request.app.state.runs
    specialist, formatted = specialist_of(asked.model, service.team_for(who)), asked.formatted
    *history, task = asked.turns()
    before = asked.previous_response_id
    kept: dict[str, Any] = {"history": history[-100:]}
    if before:
        kept = {"thread_id": _run(service, who, before).thread_id}
    elif asked.store is not False:  # somebody may go on from it
        kept["thread_id"] = f"response-{uuid4().hex}"
    given = RunRequest(task=task.text, specialist=specialist, **kept)
    run = service.start(who, given, key=idempotency_key, durable=asked.store is not False)
    response = _Response(run, service, base_url(request), asked, formatted)
    if asked.stream:
        await while_connected(request, run.begun())
        if run.error:
            raise run.error
        return stream_response(response.events())
    if not asked.background:
        with attached(service, run):
            await while_connected(request, run.finished())
    return JSONResponse(await response.view())


@response_routes.get("/{response_id}", response_model=None)
async def get_response(response_id: ResponseId, request: Request, who: Whoever) -> Response:
    """How a response stands."""
    service: RunService = request.app.state.runs
    run = _run(service, who, response_id)
    return JSONResponse(await _Response(run, service, base_url(request)).view())


@response_routes.post("/{response_id}/cancel", response_model=None)
async def cancel_response(response_id: ResponseId, request: Request, who: Whoever) -> Response:
    """Call a response off."""
    service: RunService = request.app.state.runs
    run = _run(service, who, response_id)
    if not run.ended:
        service.cancel(run)
    return JSONResponse(await _Response(run, service, base_url(request)).view())


def _run(service: RunService, who: Caller, response: str) -> Run:
    return service.get(who, response.removeprefix(_PREFIX))


_STATUS = {"requires_action": "completed"}
"""A run that waits for a person has said so: that is its answer."""


class _Response:
    """One response out of a run."""

    def __init__(
        self,
        run: Run,
        service: RunService,
        base: str,
        asked: ResponseRequest | None = None,
        formatted: ResponseFormat | None = None,
    ) -> None:
        self._run, self._service, self._team, self._base = run, service, service.team_for(run.caller), base
        self._asked, self._formatted = asked or ResponseRequest(input=run.asked.task), formatted

    async def view(self) -> dict[str, Any]:
        """The response as it stands."""
        answer = self._run.answer if self._run.ended else None
        return self._view(answer, [await self._message(answer)] if answer else [])

    def _view(self, answer: Answer | None, output: list[dict[str, Any]]) -> dict[str, Any]:
        run, given, written = self._run, 0, 0
        if answer:
            given, written = answer.usage.input_tokens, answer.usage.output_tokens
        return {
            "id": f"{_PREFIX}{run.id}",
            "object": "response",
            "created_at": run.created_at,
            "status": _STATUS.get(run.status, run.status),
            "model": model_of(answer.specialist, self._team) if answer else self._asked.model,
            "output": output,
            "error": {"code": "server_error", "message": error_body(run.error)["error"]["message"]}
            if run.error
            else None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": self._asked.metadata or {},
            "parallel_tool_calls": False,
            "previous_response_id": self._asked.previous_response_id,
            "temperature": None,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": {
                "input_tokens": given,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": written,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": given + written,
            }
            if answer
            else None,
            "metier": detail(answer) if answer else None,
        }

    async def _message(self, answer: Answer) -> dict[str, Any]:
        return self._item("completed", [await self._part(answer)])

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"msg_{self._run.id}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    async def _part(self, answer: Answer) -> dict[str, Any]:
        if self._formatted and answer.kind != "answer":
            return {"type": "refusal", "refusal": answer.text}
        text = said(answer, self._base, self._team)
        if self._formatted:
            text = await asyncio.to_thread(as_json, self._team, self._run.asked.task, answer, self._formatted)
        citations = citations_of(answer, text, self._base, self._team)
        annotations = [{"type": "url_citation", **citation} for citation in citations]
        return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}

    async def events(self) -> AsyncIterator[bytes]:
        """The response as it is written."""
        number = 0
        try:
            with attached(self._service, self._run):
                async for part in self._events():
                    if isinstance(part, bytes):
                        yield part
                        continue
                    yield sse({**part, "sequence_number": number}, event=part["type"])
                    number += 1
        except Exception as error:
            told = error_body(error)["error"]
            yield sse({"type": "error", "sequence_number": number, **told}, event="error")

    async def _events(self) -> AsyncIterator[dict[str, Any] | bytes]:
        begun = self._view(None, [])
        place = {"item_id": f"msg_{self._run.id}", "output_index": 0, "content_index": 0}
        yield {"type": "response.created", "response": {**begun, "status": "in_progress"}}
        yield {"type": "response.in_progress", "response": {**begun, "status": "in_progress"}}
        yield {"type": "response.output_item.added", "output_index": 0, "item": self._item("in_progress", [])}
        empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        opened, live = False, LiveText(self._team, whole=self._formatted is not None)
        async for event in self._run.follow():
            if event is None:
                yield QUIET
            elif (told := live.hear(event)) and told[0] == "content":
                if not opened:
                    opened = True
                    yield {"type": "response.content_part.added", **place, "part": empty}
                yield {"type": "response.output_text.delta", **place, "delta": told[1], "logprobs": []}
        answer = await self._run.finished()
        part = await self._part(answer)
        async for ending in self._ending(answer, part, live, place, [] if opened else [empty]):
            yield ending

    async def _ending(
        self,
        answer: Answer,
        part: dict[str, Any],
        live: LiveText,
        place: dict[str, Any],
        unopened: list[dict[str, Any]],
    ) -> AsyncIterator[dict[str, Any]]:
        """What is left to tell when the answer is known."""
        for empty in unopened:
            opened = empty if part["type"] == "output_text" else {"type": "refusal", "refusal": ""}
            yield {"type": "response.content_part.added", **place, "part": opened}
        if part["type"] == "refusal":
            yield {"type": "response.refusal.delta", **place, "delta": part["refusal"]}
            yield {"type": "response.refusal.done", **place, "refusal": part["refusal"]}
        else:
            told = live.told
            if rest := live.rest(part["text"]):
                yield {"type": "response.output_text.delta", **place, "delta": rest, "logprobs": []}
            part = {**part, "text": told + rest}
            for number, annotation in enumerate(part["annotations"]):
                more = {"annotation_index": number, "annotation": annotation}
                yield {"type": "response.output_text.annotation.added", **place, **more}
            yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
        item = self._item("completed", [part])
        yield {"type": "response.content_part.done", **place, "part": part}
        yield {"type": "response.output_item.done", "output_index": 0, "item": item}
        yield {"type": "response.completed", "response": self._view(answer, [item])}
