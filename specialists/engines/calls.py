"""Function calls of a base that was not made for them: described in the system message, written as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolCall, ToolMessage, convert_to_messages
from langchain_core.messages.tool import tool_call
from langchain_core.utils.function_calling import convert_to_openai_tool

from ...core.errors import ToolError, unknown
from ..functions import call_schema, signature, write_call
from .grammar import LARK, json_rule

_HOW = 'To call a function, answer with JSON: {"name": …, "arguments": …}. Otherwise answer in words. Functions:'


def functions_of(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """`{"name", "description", "parameters"}` of whatever LangChain takes for a tool."""
    return [convert_to_openai_tool(tool)["function"] for tool in tools]


def call_grammar(tools: Sequence[dict[str, Any]], choice: str | None) -> str:
    """A function call, or an answer in words (which does not begin with a brace).

    Args:
        choice: None or `auto`: either; `any` or `required`: a call; a function's name: a call of that one.

    Raises:
        ToolError: `choice` is a name that no function has.
    """
    names = [tool["name"] for tool in tools]
    free, forced = choice in (None, "auto", "none"), choice in ("any", "required")
    if not free and not forced and choice not in names:
        raise ToolError(unknown("function", str(choice), names))
    wanted = [tool for tool in tools if free or forced or tool["name"] == choice]
    rule = json_rule(call_schema(wanted), lenient=True)
    start = "call | words\nwords: /[^{\\s](?s:.*)/" if free else "call"
    return f"{LARK}start: {start}\ncall: {rule}\n"


def with_functions(messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]) -> list[BaseMessage]:
    """The messages with the functions' descriptions in the system message, and calls and results as plain turns."""
    system = "\n".join([_HOW, *map(signature, tools)])
    plain = [_plain(message) for message in messages]
    if plain and isinstance(plain[0], SystemMessage):
        return [SystemMessage(f"{plain[0].text}\n{system}"), *plain[1:]]
    return [SystemMessage(system), *plain]


def tool_call_of(text: str, number: int) -> ToolCall | None:
    """The call that a model wrote; None for words, and for JSON that was cut off."""
    try:
        call = json.loads(text)
        return tool_call(name=call["name"], args=call["arguments"], id=f"call_{number}")
    except (ValueError, KeyError, TypeError):
        return None


def _plain(message: BaseMessage) -> BaseMessage:
    if isinstance(message, AIMessage) and message.tool_calls:
        return AIMessage("\n".join(write_call(c["name"], c["args"]) for c in message.tool_calls))
    if isinstance(message, ToolMessage):
        return convert_to_messages([("user", f"Result of {message.name or 'the call'}: {message.text}")])[0]
    return message
