"""A plan for people: Mermaid text, and a picture drawn here; coloured by how a run stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any

import networkx as nx

from ...core.errors import MissingExtra
from ...core.files import write_atomic
from .plan import EachStep, Plan, Step
from .steps import step_graph

_SHAPES = {
    "ask": ("([", "])"), "tool": ("[[", "]]"), "calculate": ("[/", "/]"), "condition": ("{{", "}}"),
    "each": ("[", "]"), "join": ("[", "]"), "person": (">", "]"), "workflow": ("[(", ")]"), "report": ("[\\", "/]"),
}  # fmt: skip
"""How Mermaid draws each kind of step."""
STATE_COLOURS = {
    "begun": "#fff3c4", "waiting": "#ffd9a0", "done": "#cdeccd", "skipped": "#e3e3e3", "failed": "#f5c6c6",
}  # fmt: skip
"""Of the states in which a step may be."""
_PLAIN = "#dfe6ee"


def draw_plan(plan: Plan, states: Mapping[str, str] | None = None) -> str:
    """A Mermaid flowchart; what only follows is dotted, a loop is a box.

    Args:
        states: Step to how it stands: `begun`, `waiting`, `done`, `skipped`, `failed`.
    """
    lines = ["flowchart TD", *_drawn(plan.steps, "")]
    for state, colour in STATE_COLOURS.items():
        if names := [_node(name) for name, found in (states or {}).items() if found == state]:
            lines += [f"  classDef {state} fill:{colour}", f"  class {','.join(names)} {state}"]
    return "\n".join(lines)


def _drawn(steps: Mapping[str, Step], at: str) -> Iterator[str]:
    indent = "  " * (at.count(".") + 1)
    for name, step in steps.items():
        here = _node(f"{at}{name}")
        if isinstance(step, EachStep):
            yield f'{indent}subgraph {here}["{name}: for each {step.name}, at most {step.at_most}"]'
            yield from _drawn(step.steps, f"{at}{name}.")
            yield f"{indent}end"
        else:
            left, right = _SHAPES[step.kind]
            yield f'{indent}{here}{left}"{name}<br/><small>{_about(step)}</small>"{right}'
    for source, target, data in step_graph(steps).edges(data=True):
        arrow = "-.->" if data["kind"] == "order" else "-->"
        yield f"{indent}{_node(f'{at}{source}')} {arrow} {_node(f'{at}{target}')}"


def _node(name: str) -> str:
    return f"s_{name.replace('.', '__')}"


def _about(step: Step) -> str:
    """Who does it, or what is done."""
    said = {"ask": "ask", "tool": "tool", "workflow": "workflow", "report": "report"}.get(step.kind)
    text = str(getattr(step, said)) if said else {"person": "a person", "calculate": "sum"}.get(step.kind, step.kind)
    return text.replace('"', "'").replace("{", "").replace("}", "")


def layers(plan: Plan, states: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The steps for whoever draws them: `nodes` (name, layer, kind, about, steps of a loop, state) and `edges` (from,
    to, kind). An edge that others imply is left out. A plan whose steps wait for each other has a layer for each.

    Args:
        states: How each step stands in a run.
    """
    graph = plan.graph()
    circular = not nx.is_directed_acyclic_graph(graph)
    generations = [[name] for name in plan.steps] if circular else nx.topological_generations(graph)
    levels = {name: level for level, names in enumerate(generations) for name in names}
    drawn = graph if circular else nx.transitive_reduction(graph)
    nodes = [
        {
            "name": name, "layer": levels[name], "kind": step.kind, "about": _about(step),
            "steps": [*step.steps] if isinstance(step, EachStep) else [], "state": states.get(name, ""),
        }
        for name, step in plan.steps.items()
    ]  # fmt: skip
    edges = [{"from": a, "to": b, "kind": graph.edges[a, b]["kind"]} for a, b in drawn.edges if levels[a] < levels[b]]
    return {"nodes": nodes, "edges": edges}


def plan_picture(plan: Plan, path: Path, states: Mapping[str, str] | None = None) -> None:
    """Write a plan as PNG; the steps of a loop stand behind it, and an arrow that others say already is left out.

    Args:
        states: As in `draw_plan`.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "plot") from error
    graph: nx.DiGraph[str] = nx.DiGraph()
    _flat(plan.steps, "", graph)
    shown: nx.DiGraph[str] = nx.transitive_reduction(graph)
    place = _places(shown)
    wide, high = (max(axis) - min(axis) for axis in zip(*place.values(), strict=True))
    figure = Figure(figsize=(2.6 * (wide + 1) + 1, 1.0 * (high + 1) + 1.2), layout="tight")
    axes = figure.subplots()
    for name, data in graph.nodes(data=True):
        colour = STATE_COLOURS.get((states or {}).get(name, ""), _PLAIN)
        box = {"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": "#556"}
        axes.text(
            place[name][0], place[name][1], f"{name}\n{data['about']}", ha="center", va="center", fontsize=9, bbox=box
        )
    for kind, style in (("data", "solid"), ("order", "dashed")):
        edges = [(a, b) for a, b, data in graph.edges(data=True) if data["kind"] == kind and shown.has_edge(a, b)]
        nx.draw_networkx_edges(
            graph, place, edges, ax=axes, node_size=5200, edge_color="#556", style=style,
            connectionstyle="arc3,rad=0.08",
        )  # fmt: skip
    axes.set_title(f"{plan.name}: {plan.description}"[:110], fontsize=11)
    axes.margins(0.12, 0.25)
    axes.set_axis_off()
    image = BytesIO()
    figure.savefig(image, format="png", dpi=130)
    write_atomic(path, image.getvalue())


def _places(graph: nx.DiGraph[str]) -> dict[str, tuple[float, float]]:
    """Where each step stands: right of what it needs, near its height; what needs nothing, just before its use."""
    order = [*nx.topological_sort(graph)]
    levels: dict[str, int] = {}
    for name in order:
        levels[name] = max((levels[before] + 1 for before in graph.predecessors(name)), default=0)
    for name in order:
        if not graph.in_degree(name) and graph.out_degree(name):
            levels[name] = min(levels[after] for after in graph.successors(name)) - 1
    heights: dict[str, float] = {}
    for level in sorted({*levels.values()}):
        wanted = {
            name: fmean([heights[before] for before in graph.predecessors(name)] or [0.0])
            for name in order
            if levels[name] == level
        }
        given: dict[str, float] = {}
        for name in sorted(wanted, key=wanted.__getitem__):
            given[name] = max(wanted[name], max(given.values(), default=-inf) + 1)
        off = fmean(given[name] - wanted[name] for name in wanted)
        heights |= {name: height - off for name, height in given.items()}
    return {name: (float(levels[name]), -heights[name]) for name in order}


def _flat(steps: Mapping[str, Step], at: str, graph: nx.DiGraph[str]) -> dict[str, list[str]]:
    """All steps in one graph: those of a loop stand between it and what uses it. Gives what each step ends with."""
    ends: dict[str, list[str]] = {}
    for name, step in steps.items():
        many = f"each {step.name}" if isinstance(step, EachStep) else _about(step)
        graph.add_node(f"{at}{name}", about=many)
        ends[name] = [f"{at}{name}"]
        if isinstance(step, EachStep):
            last, inner = _flat(step.steps, f"{at}{name}.", graph), step_graph(step.steps)
            first = [f"{at}{name}.{one}" for one in step.steps if not inner.in_degree(one)]
            graph.add_edges_from((f"{at}{name}", one, {"kind": "data"}) for one in first)
            ends[name] = [end for one in step.steps if not inner.out_degree(one) for end in last[one]]
    for source, target, data in step_graph(steps).edges(data=True):
        graph.add_edges_from((end, f"{at}{target}", {"kind": data["kind"]}) for end in ends[source])
    return ends
