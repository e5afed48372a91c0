"""Functions that a model may call: how they are described to it, and what a call of one must look like."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.types import ToolCall

Function = Mapping[str, Any]
"""`name`, `description` and `parameters` (JSON Schema of an object), as in every API for function calls."""

NO_CALL = "[]"
"""What a model writes when no function fits, or when nothing is left to call."""

_ABOUT = 200
_ABOUT_ARGUMENT = 120
"""Descriptions are cut to so many characters: a small model reads about 300 tokens a second."""
_OUTCOME = 600
_FIELD = 60
"""Texts inside a result are cut sooner: the IDs of all records matter more than the body of the first."""


def signature(function: Function) -> str:
    """A function in a few lines: a third shorter than its JSON, in tokens.

    >>> print(signature({"name": "weather", "description": "Forecast for a city.", "parameters": {"properties": {
    ...     "city": {"type": "string"}, "unit": {"enum": ["C", "F"], "description": "of temperature"}},
    ...     "required": ["city"]}}))
    weather: Forecast for a city.
    - city (string)
    - unit (C|F, optional): of temperature
    """
    parameters = function.get("parameters") or {}
    required = parameters.get("required", ())
    lines = [_about(function["name"], function.get("description"), _ABOUT)]
    for name, schema in parameters.get("properties", {}).items():
        kind = _kind(schema, parameters.get("$defs", {}))
        needed = kind if name in required else f"{kind}, optional"
        lines.append(_about(f"- {name} ({needed})", schema.get("description"), _ABOUT_ARGUMENT))
    return "\n".join(lines)


def call_schema(functions: Sequence[Function]) -> dict[str, Any]:
    """JSON Schema of a call of one of the functions."""
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {"name": {"const": f["name"]}, "arguments": _arguments(f)},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for f in functions
        ]
    }


def call_or_none(functions: Sequence[Function]) -> dict[str, Any]:
    """JSON Schema of a call of one of the functions, or of `NO_CALL`."""
    return {"anyOf": [*call_schema(functions)["anyOf"], {"type": "array", "maxItems": 0}]}


def write_call(name: str, arguments: Mapping[str, Any]) -> str:
    """A call as the model learns to write it, and as the grammar spaces it."""
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


def called(call: ToolCall) -> str:
    """A call that was made, as a fact for the next prompt. A long result is cut: more is not read by a small model.

    >>> called(ToolCall(name="weather", arguments={"city": "Pisa"}, result="sunny"))
    'weather(city="Pisa") gave: sunny'
    """
    said = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in call.arguments.items())
    outcome = f"failed: {call.error}" if call.error is not None else f"gave: {_short(call.result)}"
    return f"{call.name}({said}) {outcome if len(outcome) <= _OUTCOME else outcome[:_OUTCOME] + '…'}"


def _short(result: str) -> str:
    """A result whose long texts are cut, if it is JSON; anything else as it is."""
    try:
        return json.dumps(_cut(json.loads(result)), ensure_ascii=False)
    except ValueError:
        return result


def _cut(value: Any) -> Any:
    if isinstance(value, list):
        return [_cut(item) for item in value]
    if isinstance(value, dict):
        return {name: _cut(item) for name, item in value.items()}
    return value[:_FIELD] + "…" if isinstance(value, str) and len(value) > _FIELD else value


def read_call(text: str) -> ToolCall | None:
    """The call that a model wrote; None for `NO_CALL`.

    Raises:
        ValueError: neither (an engine without grammars, or an answer that was cut off).
    """
    if text.strip() == NO_CALL:
        return None
    try:
        call = json.loads(text)
        return ToolCall(name=call["name"], arguments=call["arguments"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not a whole call: {text[:80]}") from error


def _arguments(function: Function) -> dict[str, Any]:
    """The schema of a function's arguments; one that takes none gets exactly none."""
    parameters = dict(function.get("parameters") or {})
    return {"type": "object", "properties": {}, **parameters}


def _about(head: str, description: str | None, limit: int) -> str:
    text = " ".join((description or "").split())
    if len(text) > limit:
        text = text[:limit].rsplit(" ", 1)[0] + "…"
    return f"{head}: {text}" if text else head


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """The type of an argument in words: `string`, `a|b`, `list of integer`, `{name: string}`."""
    if "$ref" in schema:
        return _kind(definitions.get(schema["$ref"].rsplit("/", 1)[-1], {}), definitions)
    if "enum" in schema:
        return "|".join(map(str, schema["enum"]))
    if options := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_kind(s, definitions) for s in options if s.get("type") != "null"))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_kind(schema.get('items') or {}, definitions)}"
    if kind == "object" and schema.get("properties"):
        parts = (f"{name}: {_kind(part, definitions)}" for name, part in schema["properties"].items())
        return f"{{{', '.join(parts)}}}"
    return str(kind)
