"""Somebody else's agent as a specialist: a LangChain Runnable (a chain, a LangGraph graph, what `create_agent` makes,
another team) or a query engine of llama-index, named in a card as `style: module:NAME`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable
from pydantic import BaseModel

from ...core.types import Answer, Usage
from ..work import Draft, Work
from .style import Style


@runtime_checkable
class Queried(Protocol):
    """A query engine of llama-index, as far as it is used."""

    def query(self, str_or_query_bundle: Any) -> Any: ...


def foreign_style(name: str, agent: Runnable[Any, Any] | Queried) -> Style:
    """The style of whoever answers with this agent.

    A graph over `messages` gets the conversation, a chain over one other key its text, and everybody else the text.
    What it gives is read as it comes: text, a message, a state with `messages`, an `Answer`, or data. Its answers count
    as text from outside, and an interrupt inside it (of `HumanInTheLoopMiddleware`, say) makes the team wait.
    """
    answer = partial(_run, agent, _key(agent)) if isinstance(agent, Runnable) else partial(_query, agent)
    return Style(name, answer, touches=("untrusted",))


def _key(agent: Runnable[Any, Any]) -> str | None:
    """The key of its input that takes the task; None where it takes a text."""
    try:
        schema = agent.get_input_jsonschema()
    except Exception:  # of what a function's types say; many say nothing that JSON can express
        return None
    keys = list(schema.get("required") or schema.get("properties", {})) if schema.get("type") == "object" else []
    return "messages" if "messages" in schema.get("properties", {}) else keys[0] if len(keys) == 1 else None


def _run(agent: Runnable[Any, Any], key: str | None, work: Work) -> Draft:
    work.meter.check()
    given = _messages(work) if key == "messages" else _asked(work)
    said = agent.invoke({key: given} if key else given)
    work.meter.spend(_usage(said))
    return _draft(said)


def _query(engine: Queried, work: Work) -> Draft:
    work.meter.check()
    said = engine.query(_asked(work))
    work.meter.spend(Usage(calls=1))
    return _draft(str(said))


def _asked(work: Work) -> str:
    known = [f"Known: {' '.join(work.brief.facts)}"] if work.brief.facts else []
    return "\n\n".join([*work.texts, *known, work.brief.task])


def _messages(work: Work) -> list[BaseMessage]:
    first = [SystemMessage(work.card.instructions)] if work.card.instructions else []
    before = [HumanMessage(t.text) if t.role == "user" else AIMessage(t.text) for t in work.brief.window]
    return [*first, *before, HumanMessage(_asked(work))]


def _draft(said: Any) -> Draft:
    if isinstance(said, Answer):
        good = said.kind == "answer"
        return Draft(
            said.text,
            good,
            said.citations,
            said.data,
            probability=said.confidence if good else 0.0,
            tool_calls=said.tool_calls,
            reason=said.reason or said.text,
        )
    if isinstance(said, Mapping) and said.get("messages"):
        last, data = said["messages"][-1], said.get("structured_response")
        return _draft_of(str(last.text), data)
    if isinstance(said, BaseMessage):
        return _draft_of(str(said.text), None)
    return _draft_of(said, None) if isinstance(said, str) else _draft_of("", said)


def _draft_of(text: str, data: Any) -> Draft:
    plain = data.model_dump(mode="json") if isinstance(data, BaseModel) else data
    text = text.strip() or (json.dumps(plain, ensure_ascii=False, default=str) if plain is not None else "")
    return Draft(text, bool(text), data=plain, probability=1.0 if text else 0.0, reason="it said nothing")


def _usage(said: Any) -> Usage:
    """Tokens that the messages of this answer tell of."""
    messages = said.get("messages", ()) if isinstance(said, Mapping) else [said]
    spent = [m.usage_metadata for m in messages if isinstance(m, AIMessage) and m.usage_metadata]
    if isinstance(said, Answer):
        return said.usage.model_copy(update={"calls": max(1, said.usage.calls)})
    return Usage(
        input_tokens=sum(tokens["input_tokens"] for tokens in spent),
        output_tokens=sum(tokens["output_tokens"] for tokens in spent),
        calls=max(1, len(spent)),
    )
