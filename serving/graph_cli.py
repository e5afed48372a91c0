"""`metier graph`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .ask_cli import TeamFolder


def graph(
    team: TeamFolder = Path(),
    png: Annotated[Path | None, typer.Option(help="Draw into this PNG file (needs the extra 'plot').")] = None,
) -> None:
    """Show the team's graph: Mermaid text, or a picture drawn on this machine."""
    from ..agents.blueprint import Blueprint
    from ..agents.drawing import mermaid, picture

    blueprint = Blueprint.read(team)
    if png is None:
        print(mermaid(blueprint))
        return
    picture(blueprint, png)
    print(f"{png} written")
