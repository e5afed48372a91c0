"""A LangChain chat model over one llama.cpp server in this process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict

from ..renderer import neutralise
from .llama_server import Body, LlamaServer

_ASK: Body = {"logprobs": True, "top_logprobs": 1}


class LlamaChat(BaseChatModel):
    """Base + adapter behind `invoke`, `stream`, `batch` and their async twins (which run in threads).

    Made by `LlamaEngine.chat`. Keyword arguments of a call: `grammar`, `response_format`, `max_tokens`,
    `temperature`, `seed`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    server: LlamaServer
    model_name: str
    body: Body
    """What every request of this model has: adapter, slot, sampling."""

    @property
    def _llm_type(self) -> str:
        return "metier-llama"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model_name": self.model_name, **self.body}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self.server.complete(self._request(messages, stop, kwargs))
        choice = answer["choices"][0]
        message = AIMessage(
            choice["message"].get("content") or "",
            response_metadata=self._metadata(choice["finish_reason"], _logprobs(choice), answer.get("timings")),
            usage_metadata=_usage(answer["usage"]),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        logprobs: list[float] = []
        finish = None
        body = self._request(messages, stop, kwargs) | {"stream_options": {"include_usage": True}}
        for part in _parts(self.server, body):
            choice = (part.get("choices") or [{}])[0]
            logprobs += _logprobs(choice)
            finish = choice.get("finish_reason") or finish
            text = choice.get("delta", {}).get("content") or ""
            message = AIMessageChunk(content=text)
            if part.get("usage"):
                message.usage_metadata = _usage(part["usage"])
                message.response_metadata = self._metadata(finish, logprobs, part.get("timings"))
                message.chunk_position = "last"
            elif not text:
                continue
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                run_manager.on_llm_new_token(text, chunk=chunk)
            yield chunk

    def _request(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]) -> Body:
        plain = convert_to_openai_messages(messages, text_format="string")
        safe = [m | {"content": neutralise(m["content"])} for m in plain]
        return {**_ASK, **self.body, "messages": safe, "stop": stop or [], **kwargs}

    def _metadata(self, finish: str | None, logprobs: list[float], timings: Body | None) -> Body:
        found = {"model_name": self.model_name, "finish_reason": finish, "timings": timings or {}}
        return found | ({"logprob": sum(logprobs) / len(logprobs)} if logprobs else {})


def _parts(server: LlamaServer, body: Body) -> Iterator[Body]:
    """The parts of one streamed request. llama.cpp pushes them from inside its call, so that call gets a thread."""
    parts: queue.SimpleQueue[Body | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def receive(part: Body) -> None:
        parts.put(part)
        if stopped.is_set():
            raise GeneratorExit

    def run() -> None:
        try:
            server.stream(body, receive)
            parts.put(None)
        except BaseException as error:
            parts.put(error)

    threading.Thread(target=run, name="metier-stream", daemon=True).start()
    try:
        while (part := parts.get()) is not None:
            if isinstance(part, BaseException):
                raise part
            yield part
    finally:
        stopped.set()


def _logprobs(choice: Mapping[str, Any]) -> list[float]:
    return [token["logprob"] for token in (choice.get("logprobs") or {}).get("content") or []]


def _usage(usage: Mapping[str, Any]) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        total_tokens=usage["total_tokens"],
        input_token_details=InputTokenDetails(cache_read=usage["prompt_tokens_details"]["cached_tokens"]),
    )
