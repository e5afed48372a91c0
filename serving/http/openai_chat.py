"""`/v1/chat/completions`, `/v1/models` and `/v1/embeddings` as OpenAI's clients expect them."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from ...core.errors import unknown
from ...core.types import Answer, Turn
from .caller import Whoever
from .errors import ServingError, error_body
from .openai_answer import (
    TEAM,
    ContentPart,
    LiveText,
    ResponseFormat,
    as_json,
    base_url,
    citations_of,
    detail,
    model_names,
    model_of,
    said,
    specialist_of,
    text_of,
    usage_of,
)
from .run import Run
from .run_request import RunRequest
from .runs import RunService
from .stream import QUIET, SSE, attached, sse, stream_response, while_connected

chat_routes = APIRouter(prefix="/v1", tags=["openai"])

_LONGEST_HISTORY = 100
"""Messages before the last one that are looked at."""


class ChatMessage(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None


class StreamOptions(BaseModel):
    """What a stream ends with."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool | None = False


class ChatRequest(BaseModel):
    """A chat completion. What is not listed (temperature, stop …) is the business of the specialists' cards."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(default=TEAM, max_length=300)
    messages: list[ChatMessage] = Field(min_length=1, max_length=10_000)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    n: int | None = Field(default=1, ge=1, le=128)
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    tool_choice: str | dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    """`thread_id`: a conversation that this server keeps; of the messages only the last is read then."""

    def last_user(self) -> str:
        """The text of the last message.

        Raises:
            ServingError: 400, it is not a user's.
        """
        last = self.messages[-1]
        text = text_of(last.content, "messages")
        if last.role != "user" or not text.strip():
            raise ServingError(400, "the last message must be a user's, with text", param="messages")
        return text

    def history(self) -> tuple[Turn, ...]:
        """The turns before."""
        before = [(m.role, text_of(m.content, "messages")) for m in self.messages[-_LONGEST_HISTORY - 1 : -1]]
        return tuple(Turn(role=role, text=text) for role, text in before if role in ("user", "assistant") and text)

    def check(self) -> None:
        """Is anything asked for that cannot be given?

        Raises:
            ServingError: 400.
        """
        if self.n not in (None, 1):
            raise ServingError(400, f"one choice is given, not {self.n}", param="n")
        if self.response_format:
            self.response_format.check()
        if self.tools and self.tool_choice not in (None, "auto", "none"):
            message = "the team uses the tools on its specialists' cards; it cannot be made to call one of yours"
            raise ServingError(400, message, code="tools_unsupported", param="tool_choice", hint="tool_choice: auto")

    @property
    def formatted(self) -> ResponseFormat | None:
        """The format, where it is not plain text."""
        wanted = self.response_format
        return wanted if wanted and wanted.type != "text" else None


@chat_routes.get("/models")
async def list_models(request: Request, who: Whoever) -> dict[str, Any]:
    """The team (`metier`) and each of its specialists (`metier/NAME`)."""
    team = request.app.state.runs.team_for(who)
    return {"object": "list", "data": [_model(name, team.card.name) for name in model_names(team)]}


@chat_routes.get("/models/{model:path}")
async def get_model(model: str, request: Request, who: Whoever) -> dict[str, Any]:
    """One of them."""
    team = request.app.state.runs.team_for(who)
    specialist_of(model, team)
    return _model(model, team.card.name)


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}


@chat_routes.post("/chat/completions", response_model=None, responses=SSE)
async def complete_chat(
    asked: ChatRequest,
    request: Request,
    who: Whoever,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Answer the last message of a conversation; the earlier ones are what it may refer to."""
    service: RunService = request.app.state.runs
    specialist = specialist_of(asked.model, service.team_for(who))
    asked.check()
    task = asked.last_user()
    if (reply := housekeeping(task)) is not None:
        return _at_once(asked, reply)
    thread = (asked.metadata or {}).get("thread_id")
    kept: dict[str, Any] = {"thread_id": str(thread)[:200]} if thread else {"history": asked.history()}
    run = service.start(who, RunRequest(task=task[:200_000], specialist=specialist, **kept), key=idempotency_key)
    completion = _Completion(run, service, asked, base_url(request))
    if asked.stream:
        await while_connected(request, run.begun())
        if run.error:
            raise run.error
        return stream_response(completion.chunks())
    with attached(service, run):
        return JSONResponse(await while_connected(request, completion.whole()))


def _at_once(asked: ChatRequest, text: str) -> Response:
    """The completion for a text that took no run."""
    head = {"id": f"chatcmpl-{time.time_ns():x}", "created": int(time.time()), "model": asked.model}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    if not asked.stream:
        choice = {"index": 0, "message": _message(text), "logprobs": None, "finish_reason": "stop"}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})

    async def parts() -> AsyncIterator[bytes]:
        chunk = {**head, "object": "chat.completion.chunk"}
        for delta, finish in (({"role": "assistant", "content": text}, None), ({}, "stop")):
            yield sse({**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        if asked.stream_options and asked.stream_options.include_usage:
            yield sse({**chunk, "choices": [], "usage": usage})
        yield sse("[DONE]")

    return stream_response(parts())


def _message(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "refusal": None, **more}


class _Completion:
    """One chat completion out of a run."""

    def __init__(self, run: Run, service: RunService, asked: ChatRequest, base: str) -> None:
        self._run, self._service, self._team = run, service, service.team_for(run.caller)
        self._asked, self._base = asked, base
        self._head = {"id": f"chatcmpl-{run.id}", "created": int(run.created_at)}

    async def _text(self, answer: Answer) -> tuple[str | None, str | None]:
        """Content and refusal: one who answers in JSON has no JSON for what it does not know."""
        if not self._asked.formatted:
            return said(answer, self._base, self._team), None
        if answer.kind != "answer":
            return None, answer.text
        task = self._run.asked.task
        return await asyncio.to_thread(as_json, self._team, task, answer, self._asked.formatted), None

    def _annotations(self, answer: Answer, text: str) -> list[dict[str, Any]]:
        found = citations_of(answer, text, self._base, self._team)
        return [{"type": "url_citation", "url_citation": citation} for citation in found]

    async def whole(self) -> dict[str, Any]:
        """The completion in one piece, once the run has ended."""
        answer = await self._run.finished()
        text, refusal = await self._text(answer)
        message = _message(text, annotations=self._annotations(answer, text or ""))
        message["refusal"] = refusal
        return {
            **self._head,
            "object": "chat.completion",
            "model": model_of(answer.specialist, self._team),
            "system_fingerprint": answer.version,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": usage_of(answer),
            "metier": detail(answer),
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """The completion as it is written; an error in the middle of it is a chunk of its own, and the last."""
        try:
            with attached(self._service, self._run):
                async for part in self._chunks():
                    yield part
        except Exception as error:
            yield sse(error_body(error))

    async def _chunks(self) -> AsyncIterator[bytes]:
        live, begun, model = LiveText(self._team, whole=bool(self._asked.formatted)), False, self._asked.model
        async for event in self._run.follow():
            if event is None:
                yield QUIET
                continue
            if event.name == "route" and event.data["decision"] == "one":
                model = model_of(event.data["parts"][0]["specialist"], self._team)
            if event.name in ("route", "answer", "waiting") and not begun:
                begun = True
                yield self._chunk(model, {"role": "assistant", "content": ""})
            if told := live.hear(event):
                kind, text = told
                yield self._chunk(model, {"content" if kind == "content" else "reasoning_content": text})
        answer = await self._run.finished()
        text, refusal = await self._text(answer)
        model = model_of(answer.specialist, self._team)
        if rest := live.rest(text) if text is not None else "":
            yield self._chunk(model, {"content": rest})
        if refusal:
            yield self._chunk(model, {"refusal": refusal})
        if annotations := self._annotations(answer, text or ""):
            yield self._chunk(model, {"annotations": annotations})
        yield self._chunk(model, {}, "stop", metier=detail(answer))
        if self._asked.stream_options and self._asked.stream_options.include_usage:
            yield sse({**self._plain(model), "choices": [], "usage": usage_of(answer)})
        yield sse("[DONE]")

    def _plain(self, model: str) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "model": model}

    def _chunk(self, model: str, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse({**self._plain(model), "choices": [choice], **more})


class EmbeddingRequest(BaseModel):
    """Texts, and how their vectors are wanted."""

    model_config = ConfigDict(extra="ignore")

    input: str | list[str] | list[int] | list[list[int]]
    model: str = Field(default=TEAM, max_length=300)
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = None


@chat_routes.post("/embeddings")
async def embed(asked: EmbeddingRequest, request: Request, who: Whoever) -> dict[str, Any]:
    """The vectors of some texts, by the embedder that the team's knowledge and router use."""
    service: RunService = request.app.state.runs
    embedder = service.team.embedder
    if asked.model not in (TEAM, embedder.name):
        raise ServingError(
            404, unknown("embedding model", asked.model, [TEAM, embedder.name]), code="model_not_found", param="model"
        )
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts) or len(texts) > 2048:
        message = "input must be one to 2048 texts that are not empty; tokens of another model mean nothing here"
        raise ServingError(400, message, param="input", hint="langchain: check_embedding_ctx_length=False")
    if asked.dimensions not in (None, embedder.dimension):
        raise ServingError(400, f"vectors have {embedder.dimension} dimensions", param="dimensions")
    service.check_budget(who)
    start, plain = time.monotonic(), [str(text) for text in texts]
    words = sum(len(text.split()) for text in plain)
    vectors = await asyncio.to_thread(embedder.embed, plain)
    if service.used and who.groups is not None:
        service.used.add(who.owner, input_tokens=words, seconds=time.monotonic() - start)
    return {
        "object": "list",
        "model": embedder.name,
        "data": [
            {"object": "embedding", "index": n, "embedding": _vector(vector, asked.encoding_format)}
            for n, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": words, "total_tokens": words},
    }


def _vector(vector: Any, encoding: str | None) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
    return [float(number) for number in vector]


# What chat front-ends ask on the side: a title, tags, the next questions. No router, no model, no memory is needed.

_TASK = re.compile(r"\s*### Task:\s", re.IGNORECASE)
"""How Open WebUI begins all of them, and nobody who asks something."""
_TITLE = re.compile(
    r"\s*(?:please\s+)?(?:provide|generate|create|write|give)\b[^.\n]{0,80}\btitle\b[^.\n]{0,60}"
    r"\b(?:conversation|chat|dialogue|discussion)\b",
    re.IGNORECASE,
)
"""How LibreChat and others ask for a title."""
_HISTORY = re.compile(r"<chat_history>(.*?)</chat_history>", re.DOTALL)
_FIRST = re.compile(r"^\s*(?:USER|User|Human)\s*:\s*(.+?)\s*$", re.MULTILINE)
_LONGEST_TITLE = 6
"""Words."""


def housekeeping(prompt: str) -> str | None:
    """The reply to a prompt that no person wrote; None for what a person may have asked.

    >>> housekeeping("### Task:\\nSuggest follow-up questions as JSON: { \\"follow_ups\\": [] }")
    '{"follow_ups": []}'
    """
    if _TASK.match(prompt):
        asked = prompt.partition("<chat_history>")[0]
        return next((reply(prompt) for sign, reply in _REPLIES.items() if re.search(sign, asked)), "")
    return _title(prompt) if _TITLE.match(prompt) else None


def _title(prompt: str) -> str:
    """The first words of the first question."""
    history = _HISTORY.search(prompt)
    first = _FIRST.search(history[1] if history else prompt)
    words = first[1].split() if first else ["Chat"]
    return " ".join(words[:_LONGEST_TITLE]).strip("\"'*_`#?!.,;: ") or "Chat"


def _as_json(name: str, value: Callable[[str], object]) -> Callable[[str], str]:
    return lambda prompt: json.dumps({name: value(prompt)}, ensure_ascii=False)


_REPLIES: dict[str, Callable[[str], str]] = {
    r"(?i)follow[-_ ]?ups?\b": _as_json("follow_ups", lambda prompt: []),
    r"(?i)\btags?\b": _as_json("tags", lambda prompt: ["General"]),
    r"(?i)\btitle\b": _as_json("title", _title),
    r"(?i)\bsearch quer|\bqueries\b": _as_json("queries", lambda prompt: []),
    r"(?i)\bemoji\b": lambda prompt: "💬",
    r"(?i)\bautocomplet": _as_json("text", lambda prompt: ""),
    r"(?i)\bimage\b": _as_json("prompt", _title),
}
"""What is asked for → the reply, in the form that is asked for. Looked at in this order."""
