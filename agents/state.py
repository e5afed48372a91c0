"""The state of one turn. Plain data only (it is checkpointed), and each field is written by one node."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages

Update = dict[str, Any]
"""Some fields of the state, as a station returns them."""

Plain = dict[str, Any]
"""A `core.types` value as JSON (`model_dump(mode="json")`)."""


def gather(old: list[Plain], new: list[Plain] | None) -> list[Plain]:
    """What parallel specialists write piles up; `None`, written when a turn begins, empties the pile."""
    return [] if new is None else old + new


def add_up(old: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    """Seconds per stage add up over the turn, which begins with `guard_in`."""
    if "guard_in" in new:
        return new
    return old | {stage: old.get(stage, 0.0) + seconds for stage, seconds in new.items()}


class State(TypedDict):
    """What flows along the graph; `messages` and `earlier` are the thread and outlive the turn."""

    messages: Annotated[list[AnyMessage], add_messages]
    """Written by the caller (the task is the last message) and by `remember`; `recall` takes the oldest out."""
    earlier: list[Plain]
    """`recall`: the turns that have left `messages`, in short; each a Turn."""
    attached: str | None
    """Name of a specialist that the caller insists on. Written by the caller."""
    task: Plain
    """`guard_in`: {text, guards, refusal}."""
    recalled: Plain
    """`recall`: {query, window, facts}; facts are quotes from long-term memory."""
    route: Plain
    """`route`: a Route."""
    outcomes: Annotated[list[Plain], gather]
    """Specialists: {part, answer}; emptied by `guard_in`."""
    seen: Annotated[list[Plain], gather]
    """Specialists: {specialist, brief}, all that each was told; emptied by `guard_in`."""
    joined: Plain
    """`join`: an Answer."""
    timings: Annotated[dict[str, float], add_up]
    """Every station: seconds per stage."""
    answer: Plain
    """`guard_out`: the Answer that leaves."""


class Desk(TypedDict):
    """What is sent to one specialist."""

    brief: Plain
    part: int
    """Place of this part in the answer."""
    trail: list[str]
    """Who had the brief before, in order."""
