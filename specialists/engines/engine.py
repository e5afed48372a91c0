"""The seam between metier and whatever runs a language model: an `Engine` hands out LangChain chat models.

An engine owns one base and its adapters. Everything above it (styles, graph, doors) sees `BaseChatModel` and
the few methods below, and does not know which engine it talks to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, convert_to_openai_messages

from ...core.errors import UnknownAdapter, unknown
from ..prompt import Message, neutralise


@dataclass(frozen=True)
class OneOf:
    """Exactly one of these texts."""

    options: Sequence[str]


@dataclass(frozen=True)
class Json:
    """JSON that fits a JSON Schema."""

    schema: Mapping[str, Any]
    lenient: bool = False
    """Let pass what an engine cannot enforce of the schema; otherwise it refuses such a schema."""


@dataclass(frozen=True)
class Quote:
    """A run of whole words from one of the texts, or several, one a line; or one of the alternatives.

    Engines that cannot enforce it leave the answer free; the caller verifies quotes in any case.
    """

    texts: Sequence[str]
    alternatives: Sequence[str] = ()
    openings: Sequence[str] = ()
    """What may stand before the quotes, in a line of its own."""
    most: int = 1
    """How many quotes at most."""
    barred: Sequence[str] = ()
    """Words that no quote begins with."""


@dataclass(frozen=True)
class Select:
    """One short SELECT (`specialists/sql/short.py`) over these columns, each written `table.column`.

    Engines that cannot enforce it leave the answer free; what runs it refuses anything but reading.
    """

    columns: Sequence[str]


Constraint = OneOf | Json | Quote | Select
"""What an answer must look like, said once for every engine. An engine translates it (grammar, schema, enum)."""


@dataclass(frozen=True)
class Sampling:
    """How an answer is written."""

    max_tokens: int = 96
    """Its longest length; one that is cut off says `finish_reason: length`."""
    temperature: float = 0.0
    """0 is greedy."""
    seed: int = 0
    """With the same seed chance gives the same answer again."""


GREEDY = Sampling()


@runtime_checkable
class Engine(Protocol):
    """One base model, its adapters, and a way to talk to them. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """For people and traces: `llama`, `remote`, `scripted` …"""
        ...

    @property
    def context(self) -> int:
        """Window of one request, in tokens: prompt and answer together."""
        ...

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that `chat` takes."""
        ...

    def chat(
        self, sampling: Sampling = GREEDY, *, adapter: str | None = None, slot: str | None = None
    ) -> BaseChatModel:
        """A chat model for the base with this adapter; None means the base alone.

        The answer's `usage_metadata` counts tokens; its `response_metadata` holds `finish_reason` (`stop` or
        `length`), and where the engine can tell what `certainty` gives and `probabilities` (of
        each option of a `OneOf`). Both are the model's own: a constraint does not change them.

        Args:
            slot: Who is asking (a specialist's name). An engine may keep that caller's prompt state apart, so that
                the next prompt with the same beginning is read faster.

        Raises:
            UnknownAdapter: This engine has no such adapter.
        """
        ...

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """Keyword arguments for `invoke` and `stream` of this engine's chat models that enforce the constraint."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a text."""
        ...

    def close(self) -> None:
        """Free memory and threads. May be called again; other calls fail with EngineError afterwards."""
        ...


@runtime_checkable
class LoadsAdapters(Protocol):
    """An engine whose server loads adapters while it runs, and can forget them."""

    def load(self, name: str) -> None: ...

    def unload(self, name: str) -> None: ...


def certainty(logprobs: list[float]) -> dict[str, float]:
    """Mean log-probability of an answer's tokens, and that of its first; empty where the engine does not tell."""
    return {"logprob": sum(logprobs) / len(logprobs), "first_logprob": logprobs[0]} if logprobs else {}


def check_adapter(adapter: str | None, known: Iterable[str]) -> None:
    """For every `chat`: raises UnknownAdapter, with the names there are, for an adapter that is not among `known`."""
    known = tuple(known)
    if adapter is not None and adapter not in known:
        raise UnknownAdapter(unknown("adapter", adapter, known))


def safe_messages(messages: list[BaseMessage]) -> list[Message]:
    """Messages for the base's chat template: role and text, control tokens in the text broken up."""
    plain = convert_to_openai_messages(messages, text_format="string")
    return [{"role": m["role"], "content": neutralise(m["content"])} for m in plain]


def as_chunk(message: BaseMessage) -> AIMessageChunk:
    """A whole answer as the only chunk of its stream."""
    return AIMessageChunk(**message.model_dump(exclude={"type"}), chunk_position="last")
