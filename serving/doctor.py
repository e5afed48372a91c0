"""`metier doctor`: what is installed, found and missing, and the line that mends it.

A check that breaks becomes a finding of its own: this is the command for machines on which things are broken.
"""

from __future__ import annotations

import json as json_text
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..core.errors import MetierError
from .checks import Finding, check_home, check_libraries, check_machine, check_models, check_python, default_models

_SIGN = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "fail": "[red]✗[/]"}


def diagnose(team: Path | None = None) -> list[Finding]:
    """Look at everything, and at the team in that folder when one is given. Never raises."""
    findings = [
        *_guarded("python", check_python),
        *_guarded("libraries", check_libraries),
        *_guarded("machine", check_machine),
        *_guarded("home", check_home),
    ]
    if team is None:
        return [*findings, *_guarded("models", partial(check_models, default_models()))]
    return [*findings, *check_team(team)]


def check_team(folder: Path) -> list[Finding]:
    """The models that the team in `folder` needs, its cards, documents and last build. Never raises."""
    return list(_guarded("team", partial(_team, folder)))


def _team(folder: Path) -> Iterator[Finding]:
    from ..agents.blueprint import Blueprint
    from .team_checks import check_build, check_cards, check_documents, needed_models

    blueprint = Blueprint.read(folder)
    yield from _guarded("models", partial(check_models, needed_models(blueprint.card)))
    yield from _guarded("team", partial(check_cards, blueprint))
    yield from _guarded("team", partial(check_documents, blueprint))
    yield from _guarded("team", partial(check_build, blueprint, folder))


def can_run(findings: Iterable[Finding]) -> bool:
    """Whether a team can run on this machine."""
    return all(finding.status != "fail" for finding in findings)


def doctor(
    team: Annotated[
        Path | None, typer.Option("--team", "-t", envvar="METIER_TEAM", help="Also look at the team in this folder.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Tell what is installed, found and missing, and how to mend it. Exit code 0: a team can run."""
    findings = diagnose(team)
    good = can_run(findings)
    if json:
        typer.echo(json_text.dumps({"can_run": good, "findings": [asdict(f) for f in findings]}, indent=2))
    else:
        _show(findings, good)
    raise typer.Exit(0 if good else 1)


def _guarded(area: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The check's findings; if it breaks, those up to there and one that says so."""
    try:
        yield from check()
    except MetierError as error:
        yield Finding(area, area, "fail", error.message, error.hint or "")
    except Exception as error:  # the doctor's own patients: half-installed libraries, unreadable files
        yield Finding(area, area, "fail", f"cannot be checked: {type(error).__name__}: {error}", _reinstall(error))


def _reinstall(error: Exception) -> str:
    return "pip install --force-reinstall metier" if isinstance(error, ImportError) else ""


def _show(findings: list[Finding], good: bool) -> None:
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(finding.what) for finding in findings)
    for area, group in groupby(findings, key=lambda finding: finding.area):
        console.print(f"[bold]{area}[/]")
        for finding in group:
            console.print(f"  {_SIGN[finding.status]} {escape(finding.what):<{width}}  {escape(finding.found)}")
            if finding.mend:
                console.print(f"    [cyan]→ {escape(finding.mend)}[/]")
    failed = sum(finding.status == "fail" for finding in findings)
    console.print("[green]A team can run here.[/]" if good else f"[red]No team can run yet: {failed} to mend (✗).[/]")
