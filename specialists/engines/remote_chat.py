"""ChatOpenAI with metier's errors, metadata and unwrapped choices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI

from ...core.errors import ContextOverflow, EngineError
from .engine import certainty

WRAPPED = "answer"
"""Schemas for the OpenAI API must be objects: an option travels as the value of this property."""


class RemoteChat(ChatOpenAI):
    """Made by `RemoteEngine.chat`.

    A call takes `schema`, a JSON Schema for the answer, and `unwrap`: the answer is the value of its property
    `answer` alone.
    """

    _agenerate = BaseChatModel._agenerate
    _astream = BaseChatModel._astream
    # Both run the methods below in threads: one code path for sync and async.

    def _get_request_payload(
        self, input_: LanguageModelInput, *, schema: dict[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, **kwargs)
        if schema is not None:
            # As extra body: the client raises on a cut-off answer when it knows of a response_format.
            asked = {"type": "json_schema", "json_schema": {"name": WRAPPED, "schema": schema, "strict": True}}
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
        with translated():
            result = super()._generate(messages, stop, run_manager, **kwargs)
        message, info = result.generations[0].message, result.generations[0].generation_info or {}
        message.response_metadata.pop("logprobs", None)
        message.response_metadata |= certainty(_logprobs(info.pop("logprobs", None)))
        if unwrap:
            message.content = _unwrapped(message.text)
        return result

    def _stream(self, *args: Any, unwrap: bool = False, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        if unwrap:
            whole = self._generate(*args, unwrap=True, **kwargs).generations[0].message
            yield ChatGenerationChunk(message=AIMessageChunk(**whole.model_dump(exclude={"type"})))
            return
        logprobs: list[float] = []
        with translated():
            for chunk in super()._stream(*args, **kwargs):
                logprobs += _logprobs((chunk.generation_info or {}).pop("logprobs", None))
                if isinstance(chunk.message, AIMessageChunk) and chunk.message.usage_metadata:
                    chunk.message.response_metadata |= certainty(logprobs)
                yield chunk


@contextmanager
def translated() -> Iterator[None]:
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
        return str(json.loads(text)[WRAPPED])
    except (ValueError, KeyError, TypeError) as error:
        hint = "does it support response_format with json_schema?"
        raise EngineError(f"the server did not keep to the options, it says: {text!r}", hint=hint) from error


def _logprobs(found: dict[str, Any] | None) -> list[float]:
    return [token["logprob"] for token in (found or {}).get("content") or []]
