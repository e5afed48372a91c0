"""Runs a call that the policy has allowed: arguments checked, time limited, retried, counted, effects done once."""

from __future__ import annotations

import contextvars
import hashlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from langchain_core.tools import BaseTool, ToolException
from pydantic import ValidationError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ..core.database import StateDatabase, open_state
from ..core.errors import MetierError, StateError, ToolError, unknown
from ..core.text import savable
from ..core.types import ToolCall, Value
from .policy import call_key
from .results import call_tool, result_text
from .tool import effects_of, shorten_text

Clock = Callable[[], float]
"""Seconds that only go forward."""

KEY_ARGUMENT = "idempotency_key"
"""A tool with effects that takes an argument of this name promises: the same key twice is one effect."""


class Breaker:
    """A circuit breaker: a tool that keeps failing is left alone for a while.

    Closed: calls pass. Open after `failures` in a row: none pass for `rest` seconds, then one may try.
    """

    def __init__(self, *, failures: int = 5, rest: float = 30.0, clock: Clock = time.monotonic) -> None:
        self._limit, self._rest, self._clock = failures, rest, clock
        self._failed = 0
        self._closed_at = 0.0
        self._lock = threading.Lock()

    def wait(self) -> float:
        """Seconds until a call may pass; 0 lets this caller through, and only this one while the tool is on trial."""
        with self._lock:
            if self._failed < self._limit:
                return 0.0
            left = self._closed_at - self._clock()
            if left <= 0:
                self._closed_at = self._clock() + self._rest
            return max(left, 0.0)

    def record(self, ok: bool) -> None:
        """Say how a call went."""
        with self._lock:
            self._failed = 0 if ok else self._failed + 1
            if self._failed >= self._limit:
                self._closed_at = self._clock() + self._rest


class LedgerEntry(Value):
    """An effect. `begun` without `done`: the process ended in between, and nobody knows whether it happened."""

    state: Literal["begun", "done"]
    result: str = ""


EFFECTS_SCHEMA = "CREATE TABLE IF NOT EXISTS effects (key TEXT PRIMARY KEY, state TEXT, result TEXT)"
"""For SQLite and PostgreSQL."""


class Ledger:
    """Which effects have happened, so that no payment is made twice after a crash or a retry.

    Args:
        place: A SQLite file, or a database with the table of `EFFECTS_SCHEMA`; several processes may share either. None
            keeps them in memory.
    """

    def __init__(self, place: Path | StateDatabase | None = None) -> None:
        self.database = open_state(place, EFFECTS_SCHEMA, synchronous="FULL")
        self._written = True  # by whoever had the database before

    def begin(self, key: str) -> LedgerEntry | None:
        """Claim a key. None: it is yours, go on; otherwise what is known of the earlier attempt."""
        claim = "INSERT INTO effects VALUES (?, 'begun', '') ON CONFLICT (key) DO NOTHING RETURNING 1"
        earlier = None
        while earlier is None:  # a key that is released by another process between the two statements is free again
            claimed = self.database.run(claim, (key,))
            self._written = True
            if claimed:
                return None
            earlier = self.find(key)
        return earlier

    def find(self, key: str) -> LedgerEntry | None:
        """What is known of an effect; None when it was never begun."""
        rows = self.database.run("SELECT state, result FROM effects WHERE key = ?", (key,))
        return LedgerEntry(state=rows[0][0], result=rows[0][1]) if rows else None

    def finish(self, key: str, result: str) -> None:
        """The effect happened."""
        self.database.run("UPDATE effects SET state = 'done', result = ? WHERE key = ?", (result, key))

    def release(self, key: str) -> None:
        """The effect surely did not happen; the key may be claimed again."""
        self.database.run("DELETE FROM effects WHERE key = ? AND state = 'begun'", (key,))

    def erase(self, prefix: str = "") -> int:
        """Forget all effects whose key begins with `prefix` (a thread's, say); how many there were."""
        with self.database.transaction() as execute:
            gone = execute("DELETE FROM effects WHERE substr(key, 1, ?) = ? RETURNING 1", (len(prefix), prefix))
        if gone or self._written:
            self.database.empty_log()
            self._written = False
        return len(gone)

    def close(self) -> None:
        """Close the database."""
        self.database.close()


class ToolRunner:
    """Runs calls of some tools. A failure is a value (`ToolCall.error`), since a model can often mend it."""

    def __init__(
        self,
        tools: Iterable[BaseTool],
        *,
        seconds: float = 30.0,
        attempts: int = 3,
        ledger: Ledger | None = None,
        breaker: Callable[[], Breaker] = Breaker,
        clock: Clock = time.monotonic,
    ) -> None:
        """Runs `tools`.

        Args:
            seconds: time one attempt may take.
            attempts: how often a read that failed for a passing reason is tried.
            ledger: remembers effects; give one with a file so that they survive a crash.
            breaker: makes the circuit breaker of a tool.
            clock: measures durations.
        """
        self._tools = {t.name: t for t in tools}
        self._breakers = {name: breaker() for name in self._tools}
        self._seconds, self._attempts, self._clock = seconds, attempts, clock
        self._ledger = ledger or Ledger()

    def run(self, call: ToolCall, *, key: str = "") -> ToolCall:
        """The call with its result, or with the error in words.

        Args:
            call: name and arguments; a result in it is ignored.
            key: identifies this step of this run. Effects are done once per key and call. Left out, the call itself.
        """
        started = self._clock()
        result, error = "", None
        try:
            result = self._run(call, f"{key} {call_key(call)}")
        except Exception as problem:
            error = savable(shorten_text(_words(problem)))
        return call.model_copy(update={"result": result, "error": error, "seconds": self._clock() - started})

    def unsettled(self, call: ToolCall, key: str) -> bool:
        """Was this effect begun earlier, and nobody knows whether it happened? A repeatable tool simply tries again."""
        tool = self._tools.get(call.name)
        if tool is None or effects_of(tool).effect == "read" or takes_key(tool):
            return False
        earlier = self._ledger.find(f"{key} {call_key(call)}")
        return earlier is not None and earlier.state == "begun"

    def _run(self, call: ToolCall, key: str) -> str:
        tool = self._tools.get(call.name)
        if tool is None:
            raise ToolError(unknown("tool", call.name, self._tools))
        if effects_of(tool).effect == "read":
            return self._guarded(tool, call.arguments, self._attempts)
        return self._once(tool, call, key)

    def _once(self, tool: BaseTool, call: ToolCall, key: str) -> str:
        """An effect: one attempt, remembered before and after."""
        repeatable = takes_key(tool)
        earlier = self._ledger.begin(key)
        if earlier and earlier.state == "done":
            return earlier.result
        if earlier and not repeatable:
            raise ToolError(
                f"{call.name} was begun earlier and never reported back: it may or may not have happened",
                hint="look whether it did before calling it again",
            )
        arguments = {**call.arguments, KEY_ARGUMENT: _opaque(key)} if repeatable else call.arguments
        try:
            result = self._guarded(tool, arguments, self._attempts if repeatable else 1)
        except (ToolError, ToolException, ValidationError):
            self._ledger.release(key)  # the tool itself says that nothing happened
            raise
        try:
            self._ledger.finish(key, result)
        except (sqlite3.Error, StateError) as error:
            return f"{result}\n(It is done, but that could not be noted: {error}.)"
        return result

    def _guarded(self, tool: BaseTool, arguments: dict[str, Any], attempts: int) -> str:
        breaker = self._breakers[tool.name]
        wait = breaker.wait()
        if wait:
            raise ToolError(f"{tool.name} failed too often; it rests for {wait:.0f} s")
        retry = Retrying(
            stop=stop_after_attempt(attempts),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            retry=retry_if_exception(_passing),
            reraise=True,
        )
        try:
            result = retry(self._within_time, tool, arguments)
        except Exception as problem:
            # A model's wrong arguments or a question the tool cannot answer say nothing about the tool's health.
            breaker.record(
                ok=isinstance(problem, ToolError | ToolException | ValidationError) and not _passing(problem)
            )
            raise
        breaker.record(ok=True)
        return result

    def _within_time(self, tool: BaseTool, arguments: dict[str, Any]) -> str:
        """Run in a thread of its own. Threads cannot be stopped: a late one is left behind and its result is lost."""
        done: queue.SimpleQueue[tuple[str, Exception | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                # A little longer than it is waited for: that it is late is said here, and in the same words for all.
                done.put((result_text(call_tool(tool, arguments, self._seconds + 0.2), tool), None))
            except Exception as problem:
                done.put(("", problem))
            except BaseException as problem:  # SystemExit and its like would end the team
                done.put(("", _Ended(f"{tool.name} tried to end the program: {type(problem).__name__}: {problem}")))

        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(work,), daemon=True, name=f"tool-{tool.name}").start()
        try:
            result, problem = done.get(timeout=self._seconds)
        except queue.Empty:
            raise TimeoutError(f"{tool.name} took longer than {self._seconds:g} s") from None
        if problem is not None:
            raise problem
        return result


class _Ended(Exception):
    """A tool wanted to end the process. Whether it did anything before is not known."""


def _opaque(key: str) -> str:
    """What a tool is given, and may pass on: names of threads and arguments are nobody's business outside."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def takes_key(tool: BaseTool) -> bool:
    """Does the tool promise that the same call twice is one effect?"""
    return KEY_ARGUMENT in _arguments(tool)


def _arguments(tool: BaseTool) -> Iterable[str]:
    """Names of all arguments, those hidden from the model (`InjectedToolArg`) too."""
    if isinstance(tool.args_schema, dict):
        return tool.args_schema.get("properties", {})
    schema: Any = tool.get_input_schema()
    return schema.model_fields


def _passing(problem: BaseException) -> bool:
    """Whether the same call may work a moment later."""
    return isinstance(problem, ConnectionError | TimeoutError) or (
        isinstance(problem, MetierError) and problem.retryable
    )


def _words(problem: Exception) -> str:
    """For the model: what is wrong, and with which argument, in one short line."""
    if isinstance(problem, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in problem.errors()[:3])
    own = isinstance(problem, MetierError | ToolException | _Ended)
    return str(problem) if own else f"{type(problem).__name__}: {problem}"
