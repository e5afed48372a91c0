"""The router as a conditional edge of any LangGraph graph: a plain callable from a state to a node's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .router import Router

END = "__end__"
"""LangGraph's name for the end of a graph."""

Edge = Callable[[Any], str | list[str]]


def edge(
    router: Router,
    *,
    nodes: Mapping[str, str] | None = None,
    nobody: str = END,
    clarify: str | None = None,
    text: Callable[[Any], str] | None = None,
) -> Edge:
    """`graph.add_conditional_edges("start", edge(router))`.

    Args:
        nodes: Specialist to node, where they are called differently.
        nobody: Node for tasks that nobody should answer.
        clarify: Node that asks the user back; left out: as `nobody`.
        text: Takes the task out of the state; left out: the last of `messages`, else `input`.

    Returns:
        The node's name; a list of names where a task has parts for several.
    """
    called = nodes or {}
    read = text or task_of

    def choose(state: Any) -> str | list[str]:
        route = router.route(read(state))
        if route.decision == "clarify":
            return clarify or nobody
        names = list(dict.fromkeys(called.get(part.specialist, part.specialist) for part in route.parts))
        return names[0] if len(names) == 1 else names or nobody

    return choose


def task_of(state: Any) -> str:
    """The task in a state: the text of the last of its `messages`, or its `input`.

    Raises:
        KeyError: it has neither.
    """
    messages = _get(state, "messages")
    if not messages:
        found = _get(state, "input")
        if found is None:
            raise KeyError("the state has neither 'messages' nor 'input'; give `text=` to edge()")
        return str(found)
    last = messages[-1]
    if isinstance(last, tuple | list):
        return str(last[1])
    content = _get(last, "content")
    if isinstance(content, list):
        return " ".join(str(block.get("text", "")) for block in content if isinstance(block, Mapping))
    return str(last if content is None else content)


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
