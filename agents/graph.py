"""The graph of one turn, drawn as it runs.

    guard_in → recall → route → specialist ×k → join → guard_out → remember

The only way back is a hand-off from specialist to specialist, bounded by the brief's budget and by the rule that
nobody gets the same brief twice.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from ..core.clock import record, timing
from ..core.errors import ConfigError
from .nodes import Nodes
from .state import State

STATIONS = ("guard_in", "recall", "route", "join", "guard_out", "remember")
"""Names that no specialist can have."""

RECURSION_LIMIT = 40
"""Super-steps a turn may take: far above any legal turn, far below LangGraph's default of 10,007."""


def compile_graph(
    nodes: Nodes,
    handoffs: dict[str, list[str]],
    *,
    name: str,
    checkpointer: BaseCheckpointSaver | None = None,
) -> CompiledStateGraph:
    """A LangGraph graph that reads and writes `messages`, so that it fits as a node into any other graph.

    Args:
        nodes: The stations.
        handoffs: Specialist to the colleagues that its card allows; these are the edges.
        name: The team's name.
        checkpointer: Where threads are saved; None when a parent graph does it.

    Raises:
        ConfigError: a specialist has the name of a station.
    """
    taken = set(STATIONS) & set(nodes.specialists)
    if taken:
        raise ConfigError(f"specialist name is taken by the graph: {', '.join(sorted(taken))}", hint="rename it")
    graph = StateGraph(State)
    for station in STATIONS:
        graph.add_node(station, _timed(getattr(nodes, station), station), defer=station == "join")
    for specialist in nodes.specialists:
        ends = (*handoffs.get(specialist, ()), "join")
        graph.add_node(specialist, _timed(nodes.specialist(specialist)), destinations=ends)
    graph.add_edge(START, "guard_in")
    graph.add_conditional_edges("guard_in", _refused, {"join": "join", "recall": "recall"})
    graph.add_edge("recall", "route")
    graph.add_conditional_edges("route", nodes.dispatch, [*nodes.specialists, "join"])
    graph.add_edge("join", "guard_out")
    graph.add_edge("guard_out", "remember")
    graph.add_edge("remember", END)
    return graph.compile(checkpointer=checkpointer, name=name)


def _timed(station: Callable[[Any], Any], stage: str | None = None) -> Any:
    """The station, with its seconds written into the state: in all under `stage`, and under the stages inside it."""

    def run(state: Any) -> Any:
        with record() as timings, timing(stage) if stage else nullcontext():
            update = station(state)
        if isinstance(update, Command):
            return replace(update, update={**(update.update or {}), "timings": timings})
        return {**update, "timings": timings}

    return run


def _refused(state: State) -> str:
    return "join" if state["task"]["refusal"] else "recall"
