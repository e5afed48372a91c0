"""A team over time: `metier canary` tries a challenger on a share of the conversations, `metier watch` tells drift,
`metier retention` forgets what is old.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .ask import shorten
from .options import AsJson, SpecialistName, TeamFolder, blueprint_of, command_line, next_lines, print_json

if TYPE_CHECKING:
    from ..agents.canary import TrialStatus
    from ..agents.cards import Blueprint
    from ..agents.drift import Drift

canary_app = typer.Typer(
    help="Let a challenger answer a share of the conversations until it is decided.", no_args_is_help=True
)
retention_app = typer.Typer(help="Forget what is older than `retention` in team.yaml says.", no_args_is_help=True)


@canary_app.command()
def start(
    specialist: SpecialistName,
    version: Annotated[str, typer.Argument(help="challenger, or the beginning of an id; on a server its name.")] = (
        "challenger"
    ),
    team: TeamFolder = Path(),
    share: Annotated[float, typer.Option(help="Of the conversations: 0.5 decides quickest, 0.1 is careful.")] = 0.1,
    shadow: Annotated[bool, typer.Option("--shadow", help="It answers beside what is in use; nobody sees it.")] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Do not promote it, however good it is.")] = False,
    json: AsJson = False,
) -> None:
    """Begin a trial: a running server takes part within seconds. It stops when worse, and promotes when better."""
    from ..agents.canary import open_trials, trial_line

    blueprint = blueprint_of(team, specialist)
    with open_trials(blueprint) as trials:
        trial = trials.start(specialist, version, share=share, shadow=shadow, hold=hold)
    if json:
        print_json(trial)
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(trial_line(trial))
    next_lines(
        console, command_line("canary", "status", team=team), command_line("canary", "stop", specialist, team=team)
    )


@canary_app.command()
def status(
    specialist: Annotated[str | None, typer.Argument(help="Only of this one.")] = None,
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """How the last trial of each specialist stands, or ended."""
    from ..agents.canary import open_trials

    blueprint = blueprint_of(team, *[specialist] if specialist else [])
    with open_trials(blueprint) as trials:
        names = [specialist] if specialist else [trial.specialist for trial in trials.all()]
        found = [one for name in names if (one := trials.status(name))]
    if json:
        print_json(found)
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for one in found:
        _show(console, one)
    if not found:
        console.print("no trials")


def _show(console: Console, one: TrialStatus) -> None:
    from ..agents.canary import ERROR, trial_line

    console.print(trial_line(one.trial))
    seen = one.evidence
    for who, mean, n, thumbs in zip(
        ("challenger", "in use"), (seen.challenger, seen.champion), seen.conversations, seen.thumbs, strict=True
    ):
        worth = "nothing yet" if mean is None else f"worth {mean:.3f}"
        console.print(f"  {who:<10}  {worth} in {n} conversations, {thumbs} with feedback")
    needed = "" if one.trial.shadow else f", {1 / ERROR:.0f} : 1 decides"
    console.print(f"  evidence    {seen.better:.3g} : 1 for better, {seen.worse:.3g} : 1 for worse{needed}")
    if one.agree is not None:
        console.print(f"  both say the same to {one.agree:.0%}")
    for pair in one.differ:
        console.print(f"  {shorten(pair.task, 80)}\n    in use:     {shorten(pair.champion, 80)}")
        console.print(f"    challenger: {shorten(pair.challenger, 80)}")


@canary_app.command()
def stop(specialist: SpecialistName, team: TeamFolder = Path()) -> None:
    """End a trial: what is in use answers everything again, from the next task on."""
    from ..agents.canary import open_trials

    with open_trials(blueprint_of(team, specialist)) as trials:
        trial = trials.stop(specialist)
    Console().print(f"{specialist}: the trial of {escape(trial.challenger)} is over", highlight=False)


# Drift.


def watch(
    team: TeamFolder = Path(),
    follow: Annotated[bool, typer.Option("--follow", help="Go on looking, and tell what changes.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 60.0,
    accept: Annotated[bool, typer.Option("--accept", help="What is now is as it shall be: begin anew.")] = False,
    json: AsJson = False,
) -> None:
    """Whether questions, answers and documents are still what the team was made for. Exit code 1: something drifted."""
    from ..agents.drift import accept_present

    blueprint = blueprint_of(team)
    if accept:
        accept_present(blueprint)
        print("from now on turns are compared with those that come now")
        return
    told: list[tuple[str, ...]] | None = None
    for found in _looks(blueprint, every if follow else None):
        drifted = [(one.what, one.since, one.text) for one in found if one.drifted]
        if told != drifted:
            print_json(found) if json else _tell(found)
        told = drifted
    raise typer.Exit(1 if told else 0)


def _looks(blueprint: Blueprint, every: float | None) -> Iterator[list[Drift]]:
    """What is watched, once or again and again."""
    from ..agents.answer_log import AnswerLog, log_records
    from ..agents.drift import watch as look
    from ..core.onnx_embedder import load_embedder
    from ..router.router import Router

    embedder, records = load_embedder(blueprint.card.embedder), log_records(blueprint)
    try:
        answers = AnswerLog(blueprint, records, embedder) if records else None
        while True:
            yield look(blueprint, answers, Router.load(blueprint.state / "router", embedder))
            if every is None:
                return
            time.sleep(every)
    finally:
        if records:
            records.close()


def _tell(found: list[Drift]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for one in found:
        sign = "[yellow]![/]" if one.drifted else "[green]✓[/]"
        text = one.text if one.drifted else "as before" if one.what != "documents" else "as built"
        counted = f" ({one.seen} looked at)" if one.what != "documents" else ""
        since = f" since {one.since}, told after {one.after}" if one.since else ""
        console.print(f"{sign} {one.what:<12} {escape(text)}{since}{counted}")
        for example in one.examples if one.drifted else ():
            console.print(f"    {escape(shorten(example, 100))}")


# Retention.


@retention_app.command()
def run(
    team: TeamFolder = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    json: AsJson = False,
) -> None:
    """Forget what is older than the card says. A server does it once a day."""
    from ..agents.retention import retain

    blueprint = blueprint_of(team)
    gone = retain(blueprint, dry=dry_run)
    if json:
        print_json(gone)
        return
    counts = {name: n for name, n in gone.model_dump(exclude={"router_fitted"}).items() if n}
    what = ", ".join(f"{n} {name}" for name, n in counts.items()) or "nothing"
    print(f"{'would be forgotten' if dry_run else 'forgotten'}: {what}")
    if not any(days for days in blueprint.card.retention.model_dump().values()):
        next_lines(Console(), "retention: {threads: 90, logs: 90, feedback: 180} in team.yaml")
