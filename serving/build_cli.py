"""`metier build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .ask_cli import TeamFolder


def build(
    team: TeamFolder = Path(),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the last build and start anew.")] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Evaluate challengers, but promote none.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Index documents, fit the router, promote better adapters; only what changed is done again."""
    from ..agents.blueprint import Blueprint
    from ..agents.builder import build as build_team
    from .progress import shown

    blueprint = Blueprint.read(team)
    with shown(Console(stderr=True), quiet=json) as progress:
        report = build_team(blueprint, progress=progress, fresh=fresh, gate="hold" if hold else "promote")
    if json:
        print(report.model_dump_json(indent=2))
        return
    console = Console()
    for line in report.lines():
        console.print(line, highlight=False)
    where = "" if team == Path() else f" --team {team}"
    console.print(
        f'[dim]next:[/] metier ask{where} "…"  ·  metier chat{where}  ·  metier graph{where}', highlight=False
    )
