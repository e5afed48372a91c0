"""What tools give: waited for, and as text that a model reads and a thread can keep."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from pydantic_core import to_json

from ..core.text import savable
from .tool import effects_of, shorten_text

_MOST_ITEMS = 1000
"""Items that are taken out of a generator, which may never end."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_ADDRESS = re.compile(r" (?:object )?at 0x[0-9a-fA-F]+")


def call_tool(tool: BaseTool, arguments: Mapping[str, Any], seconds: float) -> Any:
    """What a tool gives. What it only promises is awaited in this thread, and cancelled after `seconds`.

    Raises:
        TimeoutError: what it promised took longer.
    """
    if _only_awaited(tool):
        return _wait(tool.ainvoke(dict(arguments)), seconds)
    try:
        given = tool.invoke(dict(arguments))
    except NotImplementedError:  # so says a tool of one's own class that has no synchronous form
        if hasattr(tool, "func") or type(tool)._arun is BaseTool._arun:
            raise
        return _wait(tool.ainvoke(dict(arguments)), seconds)
    promised = inspect.isawaitable(given) or isinstance(given, AsyncIterator)
    return _wait(given, seconds) if promised else _items(given)


def _only_awaited(tool: BaseTool) -> bool:
    return getattr(tool, "coroutine", None) is not None and getattr(tool, "func", None) is None


def _wait(promise: Any, seconds: float) -> Any:
    async def whole() -> Any:
        given = promise
        while inspect.isawaitable(given):
            given = await given
        if isinstance(given, AsyncIterator):
            items: list[Any] = []
            async for item in given:
                items.append(item)
                if len(items) == _MOST_ITEMS:
                    break
            return items
        return _items(given)

    return asyncio.run(asyncio.wait_for(whole(), seconds))


def _items(given: Any) -> Any:
    return list(islice(given, _MOST_ITEMS)) if isinstance(given, Iterator) else given


def result_text(given: Any, tool: BaseTool) -> str:
    """A result in words: JSON for all that has parts, never the address of an object, and never nothing."""
    text = shorten_text(savable(_ADDRESS.sub("", _text(given))))
    if text.strip():
        return text
    return "no result" if effects_of(tool).effect == "read" else "done"


def _text(given: Any) -> str:
    if given is None:
        return ""
    if isinstance(given, bytes | bytearray | memoryview):
        return _of_bytes(bytes(given))
    if isinstance(given, Enum):
        return _text(given.value)
    if isinstance(given, BaseMessage):
        return str(given.text)
    if blocks := _blocks(given):
        return "\n".join(blocks)
    if _says_itself(given):
        return str(given)
    for mode in ("utf8", "base64"):
        try:
            return json.dumps(json.loads(to_json(given, fallback=_parts, bytes_mode=mode)), ensure_ascii=False)
        except (ValueError, TypeError, RecursionError):  # bytes that are no text, something that contains itself
            continue
    return str(given)


def _of_bytes(data: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not _CONTROL.search(text):
            return text
    return f"({len(data)} bytes that are no text)"


def _blocks(given: Any) -> list[str]:
    """The texts of content blocks, as MCP and LangChain give them."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        return []
    texts = [item.get("text") for item in given if isinstance(item, Mapping) and item.get("type") == "text"]
    return [text for text in texts if isinstance(text, str)] if len(texts) == len(given) else []


def _says_itself(given: Any) -> bool:
    """Whether `str` of it is meant for people: text, numbers, dates, a table of pandas; not what has parts."""
    kind = type(given)
    if isinstance(given, Mapping | Sequence | set | frozenset | Enum) and not isinstance(given, str):
        return False
    if hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__pydantic_fields__"):
        return False
    return kind.__str__ is not object.__str__ or kind.__repr__ is not object.__repr__


def _parts(given: Any) -> Any:
    """What JSON does not know: its own words, else its fields."""
    if _says_itself(given):
        return str(given)
    return {name: value for name, value in getattr(given, "__dict__", {}).items() if not name.startswith("_")}
