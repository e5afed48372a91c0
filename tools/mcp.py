"""The tools of any MCP server, by four lines in a card (extra `mcp`).

    tools:
      - use: mcp
        server: python weather_server.py      # or https://weather.example.com/mcp
        allow: [get_forecast]
        effects: {effect: read, sensitive: false}

What a server says of its own tools (read-only hints) is not believed: without `effects` they are trusted with nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import threading
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from ..core.errors import ConfigError, MissingExtra, ToolError, ToolUnreachable, unknown
from .policy import Effects
from .tool import ToolContext, declare, shorten_text

try:
    import mcp as protocol
    from mcp.client.stdio import StdioServerParameters
except ImportError:
    protocol = StdioServerParameters = None

_START_SECONDS = 120.0
"""For a server to start: some are fetched first, by npx or uvx."""
_MAX_SECONDS = 30.0
_PING_SECONDS = 5.0
_MAX_DESCRIPTION = 400


def mcp(
    context: ToolContext, *, server: str, allow: list[str] | None = None, env: list[str] | None = None, prefix: str = ""
) -> list[BaseTool]:
    """The tools of one server, which is started or connected to now and closed with the process.

    Args:
        server: a command line (run in the specialist's folder, spoken to over stdio) or an http(s) address.
        allow: names of the tools to take; left out, all of them.
        env: environment variables handed on to a command, by name; others are not.
        prefix: put before each tool's name.

    Raises:
        MissingExtra: mcp is not installed.
        ToolUnreachable: the server does not answer.
        ConfigError: a tool that the server does not have.
    """
    if protocol is None or StdioServerParameters is None:
        raise MissingExtra("mcp", "mcp")
    if server.startswith(("http://", "https://")):
        return tools_of(Connection(server, server), allow, prefix)
    command, *arguments = shlex.split(server)
    passed_on = {name: os.environ[name] for name in env or [] if name in os.environ}
    started = StdioServerParameters(command=command, args=arguments, env=passed_on, cwd=context.root)
    return tools_of(Connection(started, server), allow, prefix)


def tools_of(connection: Connection, allow: list[str] | None = None, prefix: str = "") -> list[BaseTool]:
    """LangChain tools that call the server."""
    offered = {t.name: t for t in connection.tools()}
    for name in allow or []:
        if name not in offered:
            raise ConfigError(unknown("tool of the MCP server", name, offered), field="tools")
    return [_wrap(connection, offered[name], prefix) for name in allow or offered]


class Connection:
    """A server, connected to again when it was away. Sync and async graphs call it alike."""

    def __init__(self, server: Any, name: str = "") -> None:
        """Connect.

        Args:
            server: An address, `StdioServerParameters`, or an `MCPServer` object in this process.
            name: What errors call it.

        Raises:
            ToolUnreachable: it does not answer.
        """
        self._server, self._name, self._lock = server, f"the MCP server {name}".strip(), threading.Lock()
        self._session = _Session(server, self._name)

    def tools(self) -> list[Any]:
        """What the server offers, all pages."""
        tools, cursor = [], None
        while True:
            page = self._run("list_tools", cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if not cursor:
                return tools

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The result as text.

        Raises:
            ToolError: the tool reports an error.
            TimeoutError, ConnectionError: the server does not answer; whether the tool ran is not known.
        """
        result = self._run("call_tool", name, arguments)
        texts = [block.text for block in result.content if getattr(block, "text", None)]
        if not texts and result.structured_content is not None:
            texts = [json.dumps(result.structured_content, ensure_ascii=False)]
        text = shorten_text("\n".join(texts) or "(no text)")
        if result.is_error:
            raise ToolError(f"{name}: {text}")
        return text

    def close(self) -> None:
        """End the session; happens by itself when the process ends."""
        self._session.close()

    def _run(self, method: str, *args: Any, **options: Any) -> Any:
        session = self._alive()
        try:
            return session.run(method, *args, **options)
        except TimeoutError:
            session.close()
            raise TimeoutError(f"{self._name} did not answer within {_MAX_SECONDS:.0f} s") from None
        except Exception as error:
            session.close()
            raise ConnectionError(f"{self._name} failed: {_innermost(error)}") from None

    def _alive(self) -> _Session:
        """The session, or a new one where the server was away since: nothing has been asked of it yet."""
        with self._lock:
            if not self._session.answers():
                self._session.close()
                self._session = _Session(self._server, self._name)
            return self._session


class _Session:
    """One session with a server, in a thread with its own event loop."""

    def __init__(self, server: Any, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready: Future[Any] = Future()
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(server),), daemon=True)
        thread.start()
        self.close = weakref.finalize(self, _close, self._loop, self._stop, thread)
        try:
            self._client = self._ready.result(_START_SECONDS)
        except FutureTimeout:
            self.close()
            raise ToolUnreachable(f"{name} did not answer within {_START_SECONDS:.0f} s") from None
        except MissingExtra:
            raise
        except BaseException as error:
            raise ToolUnreachable(f"cannot reach {name}: {_innermost(error)}", hint="is it running?") from None

    def answers(self) -> bool:
        """Whether the server is still there."""
        if not self.close.alive or not self._loop.is_running():
            return False
        try:
            self.run("send_ping", seconds=_PING_SECONDS)
        except Exception as error:
            # A server that does not know pings is there, too.
            return "ethod not found" in str(_innermost(error))
        return True

    def run(self, method: str, *args: Any, seconds: float = _MAX_SECONDS, **options: Any) -> Any:
        """What a method of the client gives."""
        future = asyncio.run_coroutine_threadsafe(getattr(self._client, method)(*args, **options), self._loop)
        try:
            return future.result(seconds)
        except FutureTimeout:
            future.cancel()
            raise TimeoutError from None

    async def _serve(self, server: Any) -> None:
        """Opens and closes the session in one task, as its cancel scopes demand."""
        try:
            if protocol is None:
                raise MissingExtra("mcp", "mcp")
            async with protocol.Client(server, read_timeout_seconds=_START_SECONDS) as client:
                self._ready.set_result(client)
                await self._stop.wait()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)


def _close(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    if loop.is_running():
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=5)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _wrap(connection: Connection, offered: Any, prefix: str) -> BaseTool:
    def call(**arguments: Any) -> str:
        return connection.call(offered.name, arguments)

    wrapped = StructuredTool.from_function(
        call,
        name=f"{prefix}{offered.name}",
        description=shorten_text(offered.description or offered.title or offered.name, _MAX_DESCRIPTION),
        args_schema=offered.input_schema,
    )
    return declare(wrapped, Effects())
