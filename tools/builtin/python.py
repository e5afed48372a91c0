"""The tool `run_python`: code in a sandbox (pydantic-monty, extra `tools`) without files, network or processes.

The interpreter is not CPython: it has no classes to climb, no sockets and no real files to escape through, runs in a
worker process of its own, and its time and memory are limited.
"""

from __future__ import annotations

from typing import Any

from langchain_core.tools import BaseTool

from ...core.errors import MissingExtra, ToolError
from ..tool import ToolContext, shorten_text, tool

try:
    import pydantic_monty as monty
except ImportError:
    monty = None

_MAX_SECONDS = 2.0
_MAX_MEMORY_BYTES = 64_000_000
_MAX_CHARACTERS = 20_000


def python(context: ToolContext, *, seconds: float = _MAX_SECONDS) -> list[BaseTool]:
    """The tool `run_python`.

    Args:
        seconds: how long the code may run.

    Raises:
        MissingExtra: pydantic-monty is not installed.
    """

    @tool(effect="read", untrusted_output=False, sensitive=False)
    def run_python(code: str) -> str:
        """Run Python code and get what it prints and the value of its last line. No files, no network.

        Args:
            code: the program; basic Python with math, re, json, datetime.
        """
        return execute(code, seconds=seconds)

    if monty is None:
        raise MissingExtra("pydantic-monty", "tools")
    return [run_python]


def execute(code: str, *, seconds: float = _MAX_SECONDS) -> str:
    """What the code prints, then the value of its last expression.

    Raises:
        ToolError: the code is wrong, fails, or exceeds its time or memory.
    """
    if monty is None:
        raise MissingExtra("pydantic-monty", "tools")
    if len(code) > _MAX_CHARACTERS:
        raise ToolError(f"the code has {len(code)} characters, at most {_MAX_CHARACTERS} are run")
    printed = monty.CollectString()
    limits: Any = {
        "max_feed_duration_secs": seconds,
        "max_total_sleep_secs": seconds,
        "max_memory": _MAX_MEMORY_BYTES,
    }
    try:
        with monty.Monty(max_processes=1, request_timeout=seconds + 5) as pool, pool.checkout(limits=limits) as session:
            value = session.feed_run(code, print_callback=printed)
    except monty.MontyError as error:
        raise ToolError(f"the code failed: {shorten_text(str(error), 400)}") from None
    result = "" if value is None else repr(value) if not isinstance(value, str) else value
    return shorten_text("\n".join(part for part in (printed.output.rstrip("\n"), result) if part) or "(no output)")
