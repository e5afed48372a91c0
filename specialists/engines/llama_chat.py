"""A LangChain chat model over one llama.cpp server in this process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import ConfigDict

from . import toolcall
from .engine import certainty, safe_messages
from .llama_server import Body, LlamaServer
from .options import choose

_ASK: Body = {"logprobs": True, "top_logprobs": 1}


class LlamaChat(BaseChatModel):
    """Base + adapter behind `invoke`, `stream`, `batch` and their async twins (which run in threads).

    Made by `LlamaEngine.chat`. A call takes `stop` and the keyword arguments that `LlamaEngine.constrain` gives,
    and may override `max_tokens`, `temperature` and `seed`. With tools or options the answer is streamed as one
    chunk, because it is only known as a whole.
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

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools: it calls one of them or answers in words; a grammar sees to it.

        Args:
            tool_choice: None or `auto`, `any`, or the name of the one to call.
        """
        known = toolcall.functions(tools)
        rule = toolcall.call_grammar(known, tool_choice)
        return self.bind(functions=known, grammar=rule, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        options: Sequence[str] | None = None,
        functions: Sequence[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if functions is not None:
            messages = toolcall.with_functions(messages, functions)
        request = self._request(messages, stop, kwargs)
        message = self._choose(request, options) if options is not None else self._answer(request)
        if functions is not None and (call := toolcall.read_call(message.text, len(messages))):
            message = message.model_copy(update={"content": "", "tool_calls": [call]})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        if kwargs.get("options") is not None or kwargs.get("functions") is not None:
            whole = self._generate(messages, stop, **kwargs).generations[0].message
            chunks = iter([_chunk(whole)])
        else:
            chunks = self._chunks(self._request(messages, stop, kwargs))
        for message in chunks:
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                run_manager.on_llm_new_token(message.text, chunk=chunk)
            yield chunk

    def _answer(self, request: Body) -> AIMessage:
        answer = self.server.complete(request)
        choice = answer["choices"][0]
        return AIMessage(
            choice["message"].get("content") or "",
            response_metadata=self._metadata(choice["finish_reason"], _logprobs(choice), answer.get("timings")),
            usage_metadata=_usage(answer["usage"]),
        )

    def _choose(self, request: Body, options: Sequence[str]) -> AIMessage:
        choice = choose(self.server.complete, self.server.tokenize, request, options)
        first, written = choice.answers[0], sum(a["usage"]["completion_tokens"] for a in choice.answers)
        read = first["usage"]["prompt_tokens"]
        usage = first["usage"] | {"completion_tokens": written, "total_tokens": read + written}
        metadata = self._metadata("stop", [choice.logprob], first.get("timings"))
        return AIMessage(
            choice.option,
            response_metadata=metadata | {"probabilities": choice.probabilities},
            usage_metadata=_usage(usage),
        )

    def _chunks(self, request: Body) -> Iterator[AIMessageChunk]:
        logprobs: list[float] = []
        finish = None
        for part in _parts(self.server, {**request, "stream_options": {"include_usage": True}}):
            choice = (part.get("choices") or [{}])[0]
            logprobs += _logprobs(choice)
            finish = choice.get("finish_reason") or finish
            if text := choice.get("delta", {}).get("content"):
                yield AIMessageChunk(content=text)
            if usage := part.get("usage"):
                metadata = self._metadata(finish, logprobs, part.get("timings"))
                last = AIMessageChunk(content="", response_metadata=metadata, usage_metadata=_usage(usage))
                last.chunk_position = "last"
                yield last

    def _request(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]) -> Body:
        return {**_ASK, **self.body, "messages": safe_messages(messages), "stop": stop or [], **kwargs}

    def _metadata(self, finish: str | None, logprobs: list[float], timings: Body | None) -> Body:
        found = {"model_name": self.model_name, "finish_reason": finish, "timings": timings or {}}
        return found | certainty(logprobs)


def _parts(server: LlamaServer, body: Body) -> Iterator[Body]:
    """The parts of one streamed request. llama.cpp pushes them from inside its call, so that call gets a thread."""
    parts: queue.SimpleQueue[Body | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def receive(part: Body) -> None:
        parts.put(part)
        # At the end of the program too: Python waits for this thread.
        if stopped.is_set() or not threading.main_thread().is_alive():
            raise GeneratorExit

    def run() -> None:
        try:
            server.stream(body, receive)
            parts.put(None)
        except BaseException as error:
            parts.put(error)

    threading.Thread(target=run, name="metier-stream").start()
    try:
        while (part := parts.get()) is not None:
            if isinstance(part, BaseException):
                raise part
            yield part
    finally:
        stopped.set()


def _chunk(message: BaseMessage) -> AIMessageChunk:
    fields = message.model_dump(exclude={"type"})
    return AIMessageChunk(**fields, chunk_position="last")


def _logprobs(choice: Mapping[str, Any]) -> list[float]:
    return [token["logprob"] for token in (choice.get("logprobs") or {}).get("content") or []]


def _usage(usage: Mapping[str, Any]) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        total_tokens=usage["total_tokens"],
        input_token_details=InputTokenDetails(cache_read=usage["prompt_tokens_details"]["cached_tokens"]),
    )
