"""Any OpenAI-compatible server: vLLM, SGLang, LoRAX, llama-server, or a hosted service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from ...core.errors import ContextOverflow, EngineError, MissingExtra
from .engine import GREEDY, Constraint, Json, OneOf, Sampling, as_chunk, certainty, check_adapter

try:
    import openai
    from langchain_openai import ChatOpenAI
except ImportError as error:
    raise MissingExtra("langchain-openai", "remote") from error

_WRAPPED = "answer"
"""Schemas for the OpenAI API must be objects: an option travels as the value of this property."""


class RemoteEngine:
    """One base and its adapters on a server. An `Engine`.

    Adapters are those that the server tells of: as models of their own (vLLM, SGLang: the adapter's name is the
    request's `model`), or as llama-server's numbered adapters (sent as `lora` with each request).

    Args:
        base_url: The server's address, up to and with `/v1`.
        model: Name of the base there; when the server does not list it, the first model that is no adapter.
        api_key: For servers that ask for one.
        context: Window in tokens; the API does not tell.
        timeout: Seconds for one request.

    Raises:
        EngineError: The server cannot be reached or refuses.
    """

    name = "remote"

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        context: int = 4096,
        timeout: float = 60.0,
    ) -> None:
        self._client = openai.OpenAI(base_url=base_url, api_key=api_key or "none", timeout=timeout, max_retries=1)
        self._settings = {"base_url": base_url, "api_key": api_key or "none", "timeout": timeout, "max_retries": 1}
        self._context = context
        self._root = urlunsplit(urlsplit(base_url)._replace(path=""))
        try:
            served = {m.id: (m.model_extra or {}).get("parent") for m in self._client.models.list()}
        except openai.OpenAIError as error:
            raise EngineError(f"no model server at {base_url}: {error}", hint="is it running, with /v1?") from error
        bases = [name for name, parent in served.items() if not parent]
        self._base = model if model in bases else bases[0] if bases else model or "default"
        self._numbers = self._numbered()
        self._adapters = tuple(self._numbers) or tuple(name for name in served if name != self._base)

    @property
    def context(self) -> int:
        return self._context

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._adapters

    def chat(self, sampling: Sampling = GREEDY, *, adapter: str | None = None, slot: str | None = None) -> RemoteChat:
        check_adapter(adapter, self._adapters)
        extra = {}
        if self._numbers:
            extra["lora"] = [{"id": n, "scale": float(name == adapter)} for name, n in self._numbers.items()]
        return RemoteChat(
            model=adapter if adapter and not self._numbers else self._base,
            max_completion_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            seed=sampling.seed,
            logprobs=True,
            top_logprobs=1,
            stream_usage=True,
            use_responses_api=False,
            extra_body=extra or None,
            **self._settings,
        )

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """A JSON Schema for `OneOf` and `Json`; a `Quote` is left free, its caller verifies it."""
        if isinstance(constraint, OneOf):
            wrapped = {"type": "object", "properties": {_WRAPPED: {"enum": list(constraint.options)}}}
            closed = wrapped | {"required": [_WRAPPED], "additionalProperties": False}
            # A server may print JSON wide; the schema ends the answer in any case.
            room = max(len(option.encode()) for option in constraint.options) + 32
            return {"schema": closed, "unwrap": True, "max_tokens": room}
        if isinstance(constraint, Json):
            return {"schema": dict(constraint.schema)}
        return {}

    def count(self, text: str) -> int:
        """An estimate, rather too high: the API has no way to ask. Three bytes of UTF-8 are one token here."""
        return len(text.encode()) // 3 + 1

    def close(self) -> None:
        self._client.close()

    def _numbered(self) -> dict[str, int]:
        """llama-server's adapters, by the name of their file; other servers have no such page."""
        try:
            found = self._client.get(f"{self._root}/lora-adapters", cast_to=object)
        except openai.OpenAIError:
            return {}
        listed = found if isinstance(found, list) else []
        return {PurePath(adapter["path"]).stem: adapter["id"] for adapter in listed}


class RemoteChat(ChatOpenAI):
    """Made by `RemoteEngine.chat`.

    A call takes `schema`, a JSON Schema for the answer, and `unwrap`: the answer is the value of its property
    `answer` alone.
    """

    def _get_request_payload(
        self, input_: LanguageModelInput, *, schema: dict[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, **kwargs)
        if schema is not None:
            # As extra body: the client raises on a cut-off answer when it knows of a response_format.
            asked = {"type": "json_schema", "json_schema": {"name": _WRAPPED, "schema": schema, "strict": True}}
            payload["extra_body"] = {**(payload.get("extra_body") or {}), "response_format": asked}
        return payload

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        unwrap: bool = False,
        **kwargs: Any,
    ) -> ChatResult:
        with _translated():
            return _told(super()._generate(messages, stop, run_manager, **kwargs), unwrap)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        unwrap: bool = False,
        **kwargs: Any,
    ) -> ChatResult:
        with _translated():
            return _told(await super()._agenerate(messages, stop, run_manager, **kwargs), unwrap)

    def _stream(self, *args: Any, unwrap: bool = False, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        if unwrap:
            yield _as_stream(self._generate(*args, unwrap=True, **kwargs))
            return
        logprobs: list[float] = []
        with _translated():
            for chunk in super()._stream(*args, **kwargs):
                yield _with_certainty(chunk, logprobs)

    async def _astream(self, *args: Any, unwrap: bool = False, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        if unwrap:
            yield _as_stream(await self._agenerate(*args, unwrap=True, **kwargs))
            return
        logprobs: list[float] = []
        with _translated():
            async for chunk in super()._astream(*args, **kwargs):
                yield _with_certainty(chunk, logprobs)


def _told(result: ChatResult, unwrap: bool) -> ChatResult:
    """The server's answer in the form that `Engine.chat` promises."""
    message, info = result.generations[0].message, result.generations[0].generation_info or {}
    message.response_metadata.pop("logprobs", None)
    message.response_metadata |= certainty(_logprobs(info.pop("logprobs", None)))
    if unwrap:
        message.content = _unwrapped(message.text)
    return result


def _as_stream(result: ChatResult) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=as_chunk(result.generations[0].message))


def _with_certainty(chunk: ChatGenerationChunk, logprobs: list[float]) -> ChatGenerationChunk:
    """The chunk, its probabilities moved to `logprobs`; the last one tells how sure the answer is."""
    logprobs += _logprobs((chunk.generation_info or {}).pop("logprobs", None))
    if isinstance(chunk.message, AIMessageChunk) and chunk.message.usage_metadata:
        chunk.message.response_metadata |= certainty(logprobs)
    return chunk


@contextmanager
def _translated() -> Iterator[None]:
    """The client's errors as metier's."""
    try:
        yield
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        if "exceed_context_size_error" in str(body.get("type")) or "context_length" in str(body.get("code")):
            raise ContextOverflow(f"the server says: {error.message}", hint="shorten the prompt") from error
        raise EngineError(f"the server refused the request: {error.message}") from error
    except openai.OpenAIError as error:
        raise EngineError(f"the model server failed: {error}") from error


def _unwrapped(text: str) -> str:
    try:
        return str(json.loads(text)[_WRAPPED])
    except (ValueError, KeyError, TypeError) as error:
        hint = "does it support response_format with json_schema?"
        raise EngineError(f"the server did not keep to the options, it says: {text!r}", hint=hint) from error


def _logprobs(found: dict[str, Any] | None) -> list[float]:
    return [token["logprob"] for token in (found or {}).get("content") or []]
