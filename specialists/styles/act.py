"""Style `act`: one call of one of the specialist's tools; its result is the answer."""

from __future__ import annotations

from json import JSONDecodeError, loads
from typing import Any

from ...core.clock import timing
from ...core.events import Event
from ...core.types import ToolCall
from ..constraint import Json
from ..renderer import NOT_FOUND
from ..work import Draft, Work

ATTEMPTS = 2
"""A call that failed is tried once more, with the error in view."""


def act(work: Work) -> Draft:
    """Let the model choose a tool and fill its arguments under the tools' own schemas, or choose none.

    What comes back is the tool's answer, not the model's: a small model that retells a number may change it.
    """
    if work.hands is None:
        return Draft(text=NOT_FOUND, found=False)
    functions = work.hands.functions
    run, calls = work.hands.begin(untrusted=bool(work.passages)), []
    for _ in range(ATTEMPTS):
        tried = [f"{c.name} failed: {c.error}" for c in calls]
        reply = work.ask(work.prompt("call", schema={"functions": functions}, more=tried), Json(call_schema(functions)))
        call = _read(reply.text)
        if call is None:
            break
        with timing("tool"):
            calls.append(run(call))
        done = calls[-1]
        seen = {"name": done.name, "arguments": done.arguments, "error": done.error}
        work.emit(Event(name="tool", specialist=work.card.name, data=seen))
        if done.error is None:
            return Draft(text=done.result, found=True, certainty=reply.certainty, tool_calls=tuple(calls))
    return Draft(text=NOT_FOUND, found=False, tool_calls=tuple(calls))


def call_schema(functions: list[dict[str, Any]]) -> dict[str, Any]:
    """JSON Schema of a call of one of the functions, or of `[]` for none."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": f["name"]}, "arguments": f["parameters"]},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for f in functions
    ]
    return {"anyOf": [*calls, {"type": "array", "maxItems": 0}]}


def _read(text: str) -> ToolCall | None:
    try:
        call = loads(text)
        return ToolCall(name=call["name"], arguments=call["arguments"])
    except (JSONDecodeError, KeyError, TypeError):
        return None
