"""A tool is a LangChain tool that also says what it does to the world. Knows nothing of cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, TypeVar, overload

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import Field, ValidationError

from ..core.errors import ToolError
from ..core.types import Passage
from .policy import Effect, Effects

_KEY = "metier_effects"
_MAX_PATH = 1000
_RESULT_CHARACTERS = 2000

ToolT = TypeVar("ToolT", bound=BaseTool)


@overload
def tool(function: Callable[..., Any], /) -> StructuredTool: ...


@overload
def tool(
    *, effect: Effect = ..., untrusted_output: bool = ..., sensitive: bool = ..., name: str | None = ...
) -> Callable[[Callable[..., Any]], StructuredTool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect = "external",
    untrusted_output: bool = True,
    sensitive: bool = True,
    name: str | None = None,
) -> StructuredTool | Callable[[Callable[..., Any]], StructuredTool]:
    """Make a typed function a LangChain tool: schema from annotations, descriptions from a Google-style docstring.

    An `async def` becomes a tool that is awaited, within the time that a tool has.

    >>> @tool(effect="read", untrusted_output=False, sensitive=False)
    ... def double(number: int) -> int:
    ...     '''Twice a number.'''
    ...     return 2 * number
    >>> double.invoke({"number": 21})
    42

    Raises:
        ToolError: the function has no docstring (a model could not know what it is for).
    """
    effects = Effects(effect=effect, untrusted_output=untrusted_output, sensitive=sensitive)

    def make(wrapped: Callable[..., Any]) -> StructuredTool:
        label = name or getattr(wrapped, "__name__", "tool")
        if not wrapped.__doc__:
            raise ToolError(f"tool '{label}' has no docstring", hint="say in one sentence what it does")
        form = "coroutine" if _is_async(wrapped) else "func"
        described = {"name": label, "parse_docstring": True, "error_on_invalid_docstring": False}
        return declare(StructuredTool.from_function(**{form: wrapped}, **described), effects)

    return make if function is None else make(function)


def _is_async(function: Callable[..., Any]) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


class RecognisingTool(StructuredTool):
    """A tool that sees for sure when a task is its own, and reads the arguments out of it: no model is asked then."""

    recognise: Callable[[str], dict[str, Any] | None] = Field(exclude=True)
    """Task to arguments; None for every task that is not surely and wholly its own."""

    @classmethod
    def of(cls, subject: StructuredTool, recognise: Callable[[str], dict[str, Any] | None]) -> RecognisingTool:
        """The same tool, which recognises its tasks."""
        return cls(**{name: getattr(subject, name) for name in type(subject).model_fields}, recognise=recognise)


def declare(subject: ToolT, effects: Effects) -> ToolT:
    """The same tool with these effects on record. Any LangChain tool will do; the original is left as it was."""
    return subject.model_copy(update={"metadata": {**(subject.metadata or {}), _KEY: effects.model_dump()}})


def effects_of(subject: BaseTool) -> Effects:
    """What the tool declared; the most restrictive `Effects` if it declared nothing or something unreadable."""
    try:
        return Effects.model_validate((subject.metadata or {})[_KEY])
    except (KeyError, ValidationError):
        return Effects()


# What a tool's factory is given: the places that it may know. Plain data, made by whoever builds a team.

Search = Callable[[str], Sequence[Passage]]
"""Searches a specialist's own knowledge."""


@dataclass(frozen=True)
class ToolContext:
    """Where a specialist's tools may look."""

    root: Path
    """The specialist's folder: paths in its card are relative to it, and none leads out of it."""
    output: Path | None = None
    """Where tools put files they make (plots); left out: `output` inside the root."""
    search: Search | None = None
    """The specialist's knowledge, if it has any."""
    team: Path | None = None
    """The team's folder."""

    @property
    def modules(self) -> list[Path]:
        """Where modules with tools may lie besides those that are installed: beside the card, or beside team.yaml."""
        return [self.root, self.team] if self.team else [self.root]

    def path(self, name: str) -> Path:
        """A path inside the root.

        Raises:
            ToolError: it would lead out of the root, by `..`, as an absolute path or through a symlink.
        """
        return inside(self.root, name)


def inside(root: Path, name: str) -> Path:
    """`root / name` with every symlink followed, or an error when that is not inside the root.

    Raises:
        ToolError: the path leads out, or cannot be a path at all.
    """
    base = root.resolve()
    if len(name) > _MAX_PATH:
        raise ToolError(f"a path of {len(name)} characters")
    try:
        path = (base / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ToolError(f"'{name!r:.100}' is not a path: {error}") from None
    if not path.is_relative_to(base):
        raise ToolError(f"'{name}' is outside the folder of this tool", hint="use a path relative to that folder")
    return path


def shorten_text(text: str, limit: int = _RESULT_CHARACTERS) -> str:
    """A result for a small model, which does not read a dump: at most `limit` characters, cut at a line or word."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    cut = max(head.rfind("\n"), head.rfind(" "), int(limit * 0.8))
    return f"{head[:cut].rstrip()}\n… ({len(text) - cut} more characters)"
