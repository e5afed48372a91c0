"""The tool `plot_chart`: a bar, line, pie or scatter chart as a PNG (extra `plot`)."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Literal

from langchain_core.tools import BaseTool

from ...core.errors import MissingExtra, ToolError
from ...core.files import write_atomic
from ..tool import ToolContext, tool

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError:
    Figure = FigureCanvasAgg = None

Kind = Literal["bar", "line", "pie", "scatter"]
_MAX_POINTS = 500


def plot(context: ToolContext) -> list[BaseTool]:
    """The tool `plot_chart`. Charts go to the context's output folder, named after their content.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    if Figure is None:
        raise MissingExtra("matplotlib", "plot")
    output = context.output or context.path("output")

    # A new file in the tool's own folder changes nothing that people rely on: it counts as reading.
    @tool(effect="read", untrusted_output=False, sensitive=False)
    def plot_chart(kind: Kind, labels: list[str], values: list[float], title: str = "") -> str:
        """Draw a chart and get the path of the PNG.

        Args:
            kind: bar, line, pie or scatter.
            labels: one per value; for scatter the x values.
            values: the numbers.
            title: stands above the chart.
        """
        return str(draw(output, kind, labels, values, title))

    return [plot_chart]


def draw(output: Path, kind: Kind, labels: list[str], values: list[float], title: str = "") -> Path:
    """Draw one chart; the same content gives the same file.

    Raises:
        ToolError: nothing to draw, or labels and values do not match.
    """
    if Figure is None or FigureCanvasAgg is None:
        raise MissingExtra("matplotlib", "plot")
    if not values or len(labels) != len(values) or len(values) > _MAX_POINTS:
        raise ToolError(f"{len(labels)} labels and {len(values)} values", hint=f"as many of each, 1 to {_MAX_POINTS}")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    try:
        if kind == "pie":
            axes.pie(values, labels=labels)
        elif kind == "scatter":
            axes.scatter([float(x) for x in labels], values)
        else:
            (axes.bar if kind == "bar" else axes.plot)(labels, values)
            axes.tick_params(axis="x", rotation=45 if len(labels) > 6 else 0)
    except ValueError as error:
        raise ToolError(f"cannot draw this as {kind}: {error}") from None
    axes.set_title(title[:120], parse_math=False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    name = hashlib.sha256(repr((kind, labels, values, title)).encode()).hexdigest()[:12]
    path = output / f"{kind}-{name}.png"
    write_atomic(path, image.getvalue())
    return path
