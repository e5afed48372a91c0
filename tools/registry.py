"""From names in a card to tools. A name is a built-in or `module:attribute`; options stand beside it.

tools:
  - calculator
  - use: sql
    database: stock.sqlite
  - use: my_package.tools:lookup
    effects: {effect: read, untrusted_output: false, sensitive: false}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import ConfigDict, ValidationError, validate_call

from ..core.errors import ConfigError, ToolError, ToolUnreachable
from ..core.plugins import load
from .policy import Effects
from .tool import ToolContext, declare, tool

BUILT_IN = {
    "calculator": "metier.tools.builtin.calculator:calculator",
    "clock": "metier.tools.builtin.clock:clock",
    "fetch": "metier.tools.builtin.fetch:fetch",
    "files": "metier.tools.builtin.files:files",
    "mcp": "metier.tools.mcp:mcp",
    "plot": "metier.tools.builtin.plot:plot",
    "python": "metier.tools.builtin.python:python",
    "search": "metier.tools.builtin.search:search",
    "sql": "metier.tools.builtin.sql:sql",
    "table": "metier.tools.builtin.table:table",
}
"""Names to factories: `factory(context, **options) -> list of tools`. A module is loaded when its tool is asked for."""

Spec = str | Mapping[str, Any]
"""`name`, or `{use: name, …options}`."""


def build_tools(specs: Sequence[Spec], context: ToolContext) -> list[BaseTool]:
    """The tools a card asks for, in its order.

    Raises:
        ConfigError: an unknown name or option, or two tools of the same name.
        MissingExtra: a tool whose library is not installed.
        ToolUnreachable: a server that tools come from does not answer.
    """
    tools: list[BaseTool] = []
    for spec in specs:
        tools += _build(spec, context)
    names = [t.name for t in tools]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ConfigError(f"two tools are named {', '.join(twice)}", field="tools", hint="give one another 'name'")
    return tools


def _build(spec: Spec, context: ToolContext) -> list[BaseTool]:
    options = {"use": spec} if isinstance(spec, str) else dict(spec)
    use = options.pop("use", None)
    if not isinstance(use, str):
        raise ConfigError(f"a tool without 'use': {options}", field="tools", hint="- use: sql")
    effects = options.pop("effects", None)
    subject = load(use, "tool", BUILT_IN, field="tools", folders=context.modules)
    made = _make(use, subject, context, options)
    if effects is None:
        return made
    try:
        return [declare(t, Effects.model_validate(effects)) for t in made]
    except ValidationError as error:
        raise ConfigError(f"effects of '{use}': {_first(error)}", field="tools") from None


def _make(use: str, found: Any, context: ToolContext, options: dict[str, Any]) -> list[BaseTool]:
    if isinstance(found, BaseTool):
        return [found]
    if not callable(found):
        raise ConfigError(f"'{use}' is neither a tool nor a function", field="tools")
    if not _is_factory(found):
        return [tool(found)]
    try:
        factory: Any = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(found)
        return list(factory(context, **options))
    except ToolUnreachable as error:
        raise ToolUnreachable(f"tool '{use}': {error.message}", hint=error.hint) from None
    except ToolError as error:
        raise ConfigError(f"tool '{use}': {error.message}", field="tools", hint=error.hint) from None
    except ValidationError as error:
        available = ", ".join(list(signature(found).parameters)[1:]) or "none"
        raise ConfigError(f"tool '{use}': {_first(error)}; options: {available}", field="tools") from None


def _is_factory(found: Any) -> bool:
    first = next(iter(signature(found).parameters.values()), None)
    return first is not None and first.annotation in (ToolContext, "ToolContext")


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
