"""Kinds of what templates give, known before anything runs: which fits where. The empty kind is not known before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import InputError
from .steps import fits
from .template import texts_in, uses

LISTS = {"table", "items", "data", "array", ""}
"""Kinds that a loop can go over."""
_OF_TYPE = {
    "string": {"text", "string", "number", "integer", "truth", "boolean", "file", "data", ""},
    "integer": {"number", "integer", "data", ""},
    "number": {"number", "integer", "data", ""},
    "boolean": {"truth", "boolean", "data", ""},
    "array": {"table", "items", "array", "data", ""},
    "object": {"object", "data", ""},
}
"""Type of an argument to the kinds of results, and types of parameters, that may be given for it."""
_FIELD_KIND = {
    ("number", "value"): "number",
    ("truth", "value"): "truth",
    ("table", "rows"): "array",
    ("table", "columns"): "array",
    ("items", "items"): "array",
    ("text", "confidence"): "number",
}


def kind_of(value: tuple[str, str | None] | None, scope: Mapping[str, str]) -> str:
    """The kind of what a template gives.

    Args:
        value: The name, and the field of it, that the template is; None where it is more than that.
        scope: Names to their kinds.
    """
    if value is None:
        return ""
    name, field = value
    kind = scope.get(name, "")
    if field is None or kind in ("", "data", "object"):
        return kind if field is None else ""
    return _FIELD_KIND.get((kind, field), "text" if field == "text" else "")


def misfit(value: Any, wanted: str, scope: Mapping[str, str]) -> str:
    """Why a value cannot be an argument of this type; empty where it can.

    Args:
        value: As the plan says it, templates in it included.
        wanted: A type of JSON Schema.
        scope: Names to their kinds.
    """
    if wanted not in _OF_TYPE:
        return ""
    if not any("{" in text for _, text in texts_in(value)):
        return "" if fits(value, wanted) else f"{value!r} is no {wanted}"
    if not isinstance(value, str):
        return "" if fits(value, wanted) else f"a {type(value).__name__} is no {wanted}"
    try:
        used = uses(value)
    except InputError:
        return ""
    if not used.whole:
        return "" if wanted == "string" else f"'{value}' is text, and no {wanted}"
    kind = kind_of(used.value, scope)
    return "" if kind in _OF_TYPE[wanted] else f"'{value}' is a {kind}, and no {wanted}"
