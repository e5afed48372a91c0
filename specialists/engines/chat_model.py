"""What the chat models of all engines in this process share: LangChain's `BaseChatModel` with tools and options.

An engine's own class says how an answer is written (`_complete`, `_choose`, and `_write` where it can be followed
token by token). Tools, structured output, streaming and the asynchronous twins are made of that here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import ConfigDict

from ...core.background import in_thread
from .engine import GREEDY, Sampling, as_chunk
from .grammar import call_grammar, functions_of, json_grammar, schema_of, tool_call_of, with_functions


class ChatModel(BaseChatModel):
    """Base + adapter behind `invoke`, `stream`, `batch` and their asynchronous twins. Made by an engine's `chat`.

    A call takes `stop`, `response_format` (a JSON Schema in OpenAI's form) and the keyword arguments that the engine's
    `constrain` gives; it may override `max_tokens`, `temperature` and `seed`. With tools or options the answer is
    streamed as one chunk, because it is only known as a whole.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model_name: str
    """The adapter, or the base where there is none."""
    adapter: str | None = None
    sampling: Sampling = GREEDY

    # What an engine's class says.

    @abstractmethod
    def _complete(self, messages: list[BaseMessage], stop: Sequence[str], sampling: Sampling, **how: Any) -> AIMessage:
        """The whole answer. `how` is what the engine's `constrain` gives, but for `options`."""

    @abstractmethod
    def _choose(self, messages: list[BaseMessage], options: Sequence[str]) -> AIMessage:
        """The option that is most probable as the whole answer."""

    def _write(
        self, messages: list[BaseMessage], stop: Sequence[str], sampling: Sampling, **how: Any
    ) -> Iterator[AIMessageChunk]:
        """The answer in chunks, the last of which says so and holds usage and metadata."""
        yield as_chunk(self._complete(messages, stop, sampling, **how))

    # What LangChain asks for.

    @property
    def _llm_type(self) -> str:
        return f"metier-{type(self).__name__.removesuffix('Chat').lower()}"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model_name": self.model_name, "adapter": self.adapter, **asdict(self.sampling)}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        response_format: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools: it calls one of them or answers in words; a grammar sees to it.

        Args:
            tool_choice: None or `auto`; `any`, `required` or True: a call; `none`: words; the name of the one to call,
                also in OpenAI's form.
            response_format: A JSON Schema in OpenAI's form that an answer, where it is no call, fits.
            kwargs: For the call. `strict` and `parallel_tool_calls` say nothing here: a call always fits its schema,
                and there is one at a time.

        Raises:
            ToolError: no tool has that name.
        """
        known = functions_of(tools)
        answer = schema_of(response_format) if response_format else None
        rest = {name: value for name, value in kwargs.items() if name not in ("strict", "parallel_tool_calls")}
        return self.bind(functions=known, grammar=call_grammar(known, _chosen(tool_choice), answer), **rest)

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
            messages = with_functions(messages, functions)
        if options is not None:
            message = self._choose(messages, options)
        else:
            message = self._complete(messages, stop or (), **self._wanted(kwargs))
        if functions is not None and (call := tool_call_of(message.text, len(messages), functions)):
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
            yield ChatGenerationChunk(message=as_chunk(self._generate(messages, stop, **kwargs).generations[0].message))
            return
        for chunk in self._write(messages, stop or (), **self._wanted(kwargs)):
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in in_thread(lambda: self._stream(messages, stop, **kwargs)):
            yield chunk

    def _wanted(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A call's keyword arguments as `_complete` takes them: sampling as a whole, a schema as its grammar."""
        how = dict(given)
        own = {field.name: how.pop(field.name) for field in fields(Sampling) if field.name in how}
        if form := how.pop("response_format", None):
            how["grammar"] = json_grammar(schema_of(form), lenient=True)
        return {**how, "sampling": replace(self.sampling, **own)}


def gathered(chunks: Iterator[AIMessageChunk]) -> AIMessage:
    """The chunks of `_write` as one answer: a `_complete` for engines that only write token by token."""
    result = generate_from_stream(ChatGenerationChunk(message=chunk) for chunk in chunks)
    message = result.generations[0].message
    assert isinstance(message, AIMessage)
    return message


def _chosen(choice: str | bool | dict[str, Any] | None) -> str | None:
    """The choice of a tool as one word."""
    if isinstance(choice, dict):
        return str(choice["function"]["name"])
    return "any" if choice is True else choice or None
