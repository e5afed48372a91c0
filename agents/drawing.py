"""The team's graph for people: Mermaid text, and a picture drawn here (LangGraph's own picture asks a web service)."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from pathlib import Path

import networkx as nx

from ..core.errors import MissingExtra
from ..core.files import write_atomic
from .cards import Blueprint
from .graph import STATIONS

_BEFORE, _AFTER = STATIONS[:3], STATIONS[3:]


def draw_team(blueprint: Blueprint) -> nx.DiGraph:
    """Stations and specialists as nodes (attributes `layer`, `kind`), moves and hand-offs as edges (`kind`)."""
    graph = nx.DiGraph()
    for layer, station in enumerate(_BEFORE):
        graph.add_node(station, layer=layer, kind="station")
    for name in blueprint.specialists:
        graph.add_node(name, layer=len(_BEFORE), kind="specialist")
        graph.add_edge("route", name, kind="send")
        graph.add_edge(name, "join", kind="answer")
    for layer, station in enumerate(_AFTER, len(_BEFORE) + 1):
        graph.add_node(station, layer=layer, kind="station")
    for line in (_BEFORE, _AFTER):
        graph.add_edges_from(pairwise(line), kind="next")
    for name, card in blueprint.specialists.items():
        for handoff in card.handoffs:
            graph.add_edge(name, handoff.to, kind="handoff")
    return graph


def mermaid(blueprint: Blueprint) -> str:
    """A Mermaid flowchart; hand-offs are dotted."""
    graph = draw_team(blueprint)
    lines = ["flowchart LR"]
    for name, data in graph.nodes(data=True):
        lines.append(f"  {name}([{name}])" if data["kind"] == "specialist" else f"  {name}[{name}]")
    for source, target, data in graph.edges(data=True):
        lines.append(f"  {source} {'-. hand-off .->' if data['kind'] == 'handoff' else '-->'} {target}")
    return "\n".join(lines)


def picture(blueprint: Blueprint, path: Path) -> None:
    """Write the graph as PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "plot") from error
    graph = draw_team(blueprint)
    place = nx.multipartite_layout(graph, subset_key="layer")
    figure = Figure(figsize=(11, 1.6 + 0.8 * len(blueprint.specialists)), layout="tight")
    axes = figure.subplots()
    kinds = {"station": "#dfe6ee", "specialist": "#ffd9a0"}
    for kind, colour in kinds.items():
        names = [n for n, data in graph.nodes(data=True) if data["kind"] == kind]
        nx.draw_networkx_labels(
            graph, place, {n: n for n in names}, ax=axes, font_size=10,
            bbox={"boxstyle": "round,pad=0.45", "facecolor": colour, "edgecolor": "#556"},
        )  # fmt: skip
    for handoff in (False, True):
        edges = [(a, b) for a, b, data in graph.edges(data=True) if (data["kind"] == "handoff") is handoff]
        nx.draw_networkx_edges(
            graph, place, edges, ax=axes, node_size=3400, edge_color="#c0392b" if handoff else "#556",
            style="dashed" if handoff else "solid", connectionstyle=f"arc3,rad={0.45 if handoff else 0}",
        )  # fmt: skip
    axes.set_title(f"{blueprint.card.name}: dashed arrows are hand-offs", fontsize=11)
    axes.margins(0.09, 0.2)
    axes.set_axis_off()
    image = BytesIO()
    figure.savefig(image, format="png", dpi=130)
    write_atomic(path, image.getvalue())
