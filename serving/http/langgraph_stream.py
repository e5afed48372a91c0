"""The events of a run in the stream modes of a LangGraph server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.messages import AIMessageChunk, HumanMessage

from ...core.errors import MetierError
from ...core.run import Event
from .openai_answer import LiveText
from .run import Run
from .runs import RunService
from .stream import QUIET, sse
from .threads import last_values, message_of, state_of


async def follow(service: RunService, run: Run, modes: Sequence[str], seen: int) -> AsyncIterator[bytes]:
    """`metadata` first, then what the modes ask for, `error` or nothing at the end.

    Args:
        service: Where the run is.
        run: Whose events.
        modes: `values`, `messages-tuple`, `messages`, `updates`, `custom` …; others say nothing.
        seen: Events that are from before.
    """
    yield sse({"run_id": run.id, "attempt": 1, "thread_id": run.thread_id}, event="metadata")
    if "values" in modes and not seen:
        yield sse(await _with_the_task(service, run), event="values")
    told = _Told(run, service, modes)
    async for event in run.follow(seen):
        if event is None:
            yield QUIET
            continue
        for part in told.of(event):
            yield part
    if run.error is not None or run.status == "cancelled":
        error = run.error
        message = error.message if isinstance(error, MetierError) else "the run was cancelled"
        yield sse({"error": type(error).__name__ if error else "Cancelled", "message": message}, event="error")
        return
    for part in told.rest():
        yield part
    async for part in _end(service, run, modes):
        yield part


async def _with_the_task(service: RunService, run: Run) -> dict[str, Any]:
    """The conversation as it is when the task has joined it."""
    values = await asyncio.to_thread(last_values, service.team, run)
    said = [message["content"] for message in values["messages"] if message["type"] == "human"]
    if not run.ended and run.asked.task not in said[-1:]:
        values["messages"] = [*values["messages"], message_of(HumanMessage(run.asked.task, id=run.id))]
    return values


async def _end(service: RunService, run: Run, modes: Sequence[str]) -> AsyncIterator[bytes]:
    """The state that is left, and what it waits for."""
    saved = await asyncio.to_thread(service.team.moments, run.thread_id)
    interrupts = state_of(saved[0])["interrupts"] if saved else []
    values = await asyncio.to_thread(last_values, service.team, run)
    waiting = {"__interrupt__": interrupts} if interrupts else {}
    if "updates" in modes:
        yield sse(waiting or {"remember": {"messages": values["messages"][-1:]}}, event="updates")
    if "values" in modes:
        yield sse({**values, **waiting}, event="values")


class _Told:
    """What the modes say of a run while it goes on."""

    def __init__(self, run: Run, service: RunService, modes: Sequence[str]) -> None:
        self._run, self._modes = run, set(modes)
        self._live, self._text = LiveText(service.team_for(run.caller)), ""
        self._about = {"run_id": run.id, "thread_id": run.thread_id, "langgraph_node": "remember"}

    def of(self, event: Event) -> list[bytes]:
        """The parts for one event."""
        parts = []
        if "custom" in self._modes and event.name != "token":
            parts.append(sse(event, event="custom"))
        if "updates" in self._modes and event.name == "route":
            parts.append(sse({"route": {"route": event.data}}, event="updates"))
        told = self._live.hear(event)
        if told and told[0] == "content":
            parts += self._words(told[1])
        return parts

    def rest(self) -> list[bytes]:
        """The parts that are left when the answer is known."""
        answer = self._run.answer
        rest = self._live.rest(answer.text) if answer and answer.kind != "waiting" else ""
        return self._words(rest) if rest else []

    def _words(self, text: str) -> list[bytes]:
        first, self._text = not self._text, self._text + text
        id = f"run--{self._run.id}"
        parts = []
        if self._modes & {"messages-tuple", "messages"}:
            chunk = message_of(AIMessageChunk(content=text, id=id, name="metier"))
            whole = {**message_of(AIMessageChunk(content=self._text, id=id, name="metier")), "type": "ai"}
            if "messages-tuple" in self._modes:
                parts.append(sse([chunk, self._about], event="messages"))
            if "messages" in self._modes:
                if first:
                    parts.append(sse({id: {"metadata": self._about}}, event="messages/metadata"))
                parts.append(sse([whole], event="messages/partial"))
        return parts
