"""A LangChain chat model over transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import ConfigDict

from .engine import certainty, safe_messages

if TYPE_CHECKING:
    from .transformers_engine import TransformersEngine


class TransformersChat(BaseChatModel):
    """Base + adapter. Made by `TransformersEngine.chat`; an answer is streamed as one chunk.

    A call takes `stop` and the keyword arguments that `TransformersEngine.constrain` gives, and may override
    `max_tokens`, `temperature` and `seed`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    engine: Any
    """The `TransformersEngine`."""
    adapter: str | None
    model_name: str
    sampling: dict[str, Any]

    @property
    def _llm_type(self) -> str:
        return "metier-transformers"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model_name": self.model_name, **self.sampling}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        options: Sequence[str] | None = None,
        grammar: str | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        engine: TransformersEngine = self.engine
        ids = engine.read(safe_messages(messages))
        if options is not None:
            message = self._choose(ids, options)
        else:
            tokens, logprobs = engine.write(self.adapter, ids, grammar, **{**self.sampling, **kwargs})
            text, finish = engine.text(tokens), "stop" if engine.ended(tokens) else "length"
            for end in stop or []:
                text, found, _ = text.partition(end)
                finish = "stop" if found else finish
            message = self._message(text, finish, len(ids), logprobs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _choose(self, ids: list[int], options: Sequence[str]) -> AIMessage:
        """The option that is most probable as the whole answer; each costs one reading of the prompt."""
        weighed = {option: self.engine.weigh(self.adapter, ids, option) for option in options}
        if not weighed:
            raise ValueError("no options to choose from")
        best = max(weighed, key=lambda option: sum(weighed[option]))
        chances = {option: math.exp(sum(found) - sum(weighed[best])) for option, found in weighed.items()}
        total = sum(chances.values())
        message = self._message(best, "stop", len(ids), weighed[best])
        message.response_metadata["probabilities"] = {option: chance / total for option, chance in chances.items()}
        return message

    def _message(self, text: str, finish: str, read: int, logprobs: list[float]) -> AIMessage:
        written = len(logprobs)
        return AIMessage(
            text,
            response_metadata={"model_name": self.model_name, "finish_reason": finish, **certainty(logprobs)},
            usage_metadata=UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written),
        )
