"""An engine that says what it was told to say: for tests of everything above the model."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable

from ...core.errors import ContextOverflow, EngineError
from .chat_model import ChatModel
from .engine import GREEDY, Constraint, OneOf, Sampling, as_chunk, check_adapter

ScriptedReply = str | AIMessage
Script = Sequence[ScriptedReply] | Callable[[list[BaseMessage]], ScriptedReply]


@dataclass(frozen=True)
class Call:
    """One call that was made."""

    messages: list[BaseMessage]
    adapter: str | None
    slot: str | None
    constraint: Constraint | None


class ScriptedEngine:
    """An `Engine` without a model. A token is a word here.

    Args:
        script: The replies, one a call, or a function of the messages.
        adapters: Names that `chat` takes.
        context: Words that a prompt may have.
        pause: Seconds between the words of a reply that is streamed; None streams it as one piece.

    >>> engine = ScriptedEngine(["forty-two"])
    >>> engine.chat().invoke("how many?").content
    'forty-two'
    """

    name = "scripted"

    def __init__(
        self, script: Script, adapters: Sequence[str] = (), *, context: int = 4096, pause: float | None = None
    ) -> None:
        self.calls: list[Call] = []
        self.pause = pause
        self._adapters, self._context = tuple(adapters), context
        self._numbers = itertools.count()
        self._script = script
        self._open = True

    @property
    def context(self) -> int:
        return self._context

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._adapters

    def chat(self, sampling: Sampling = GREEDY, *, adapter: str | None = None, slot: str | None = None) -> ScriptedChat:
        check_adapter(adapter, self._adapters)
        return ScriptedChat(engine=self, model_name=self.name, adapter=adapter, sampling=sampling, slot=slot)

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        return {"constraint": constraint}

    def count(self, text: str) -> int:
        return len(text.split())

    def close(self) -> None:
        self._open = False

    def answer(self, call: Call) -> AIMessage:
        """The next reply, checked as a real engine would.

        Raises:
            EngineError: The script has ended, the engine is closed, or the reply is none of the options.
            ContextOverflow: The prompt is too long.
        """
        if not self._open:
            raise EngineError("this engine is closed", hint="open a new one")
        words = sum(self.count(message.text) for message in call.messages)
        if words > self._context:
            raise ContextOverflow(f"the prompt has {words} tokens, the window {self._context}")
        self.calls.append(call)
        reply = self._next(call.messages)
        message = AIMessage(reply) if isinstance(reply, str) else reply
        if isinstance(call.constraint, OneOf) and message.text not in call.constraint.options:
            raise EngineError(f"the script says '{message.text}', the options are {list(call.constraint.options)}")
        said = self.count(message.text)
        usage = UsageMetadata(input_tokens=words, output_tokens=said, total_tokens=words + said)
        metadata = {"finish_reason": "stop", **message.response_metadata}
        return message.model_copy(update={"usage_metadata": usage, "response_metadata": metadata})

    def _next(self, messages: list[BaseMessage]) -> ScriptedReply:
        if callable(self._script):
            return self._script(messages)
        number = next(self._numbers)
        if number >= len(self._script):
            raise EngineError(f"the script has {len(self._script)} replies, this is call {number + 1}")
        return self._script[number]


class ScriptedChat(ChatModel):
    """Made by `ScriptedEngine.chat`. A script that calls tools has `AIMessage`s with `tool_calls` in it."""

    engine: ScriptedEngine
    slot: str | None = None

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """The same model: the script knows what it calls."""
        return self.bind()

    def _complete(
        self,
        messages: list[BaseMessage],
        stop: Sequence[str],
        sampling: Sampling,
        *,
        constraint: Constraint | None = None,
        **how: Any,
    ) -> AIMessage:
        return self.engine.answer(Call(messages, self.adapter, self.slot, constraint))

    def _choose(self, messages: list[BaseMessage], options: Sequence[str]) -> AIMessage:
        return self.engine.answer(Call(messages, self.adapter, self.slot, OneOf(options)))

    def _write(
        self, messages: list[BaseMessage], stop: Sequence[str], sampling: Sampling, **how: Any
    ) -> Iterator[AIMessageChunk]:
        """The whole reply as one chunk, or word by word where the engine pauses between them."""
        message = self._complete(messages, stop, sampling, **how)
        if self.engine.pause is not None and not message.tool_calls:
            for word in re.findall(r"\s*\S+", message.text):
                yield AIMessageChunk(content=word)
                time.sleep(self.engine.pause)
            message = message.model_copy(update={"content": ""})
        yield as_chunk(message)
