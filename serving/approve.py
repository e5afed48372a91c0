"""`metier approve`: what waits for a person, in conversations and in runs of workflows, and what the person says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ..core.errors import StateError
from .ask import FORMS, WAITING, ask_decisions, end_with, open_team, read_decisions, show_request, visible
from .options import AsJson, TeamFolder, blueprint_of, command_line, print_json
from .workflow import go_on

if TYPE_CHECKING:
    from ..agents.threads import Threads
    from ..agents.workflows.runs import WorkflowRun
    from ..tools.policy import ApprovalRequest, Decision


def approve(
    name: Annotated[
        str | None, typer.Argument(metavar="[THREAD|RUN]", help="What waits; left out: list all that does.")
    ] = None,
    decisions: Annotated[
        list[str] | None, typer.Argument(metavar="[DECISION]...", help=f"One for each call: {FORMS}.")
    ] = None,
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """Decide what waits for a person in a conversation or a run of a workflow, and let it go on; or list all that."""
    from ..agents.threads import open_threads

    with closing(open_threads(blueprint_of(team))) as threads:
        if name is None:
            _list(threads, team, json=json)
            return
        run, request = _waiting(threads, name, team)
    made = _decided(decisions, request, json=json)
    if made is None:
        raise typer.Exit(WAITING)
    if run is not None:
        go_on(run, made, team, json=json)
    with open_team(team, quiet=json) as opened:
        answer = opened.resume(name, made)
    end_with(answer, json=json)


def _waiting(threads: Threads, name: str, team: Path) -> tuple[WorkflowRun | None, ApprovalRequest]:
    """What waits under a name: of a run of a workflow, or of a conversation (None).

    Raises:
        StateError: nothing does.
    """
    from ..agents.threads import WORKFLOW
    from ..agents.workflows.runs import kept_run

    left, kept = threads.unfinished(name), kept_run(threads, name.removeprefix(WORKFLOW))
    if left is not None and left.questions:
        return None, left.request
    if kept is not None and kept.run.within:
        hint = command_line("approve", kept.run.within, team=team)
        raise StateError(f"run '{name}' is a part of conversation '{kept.run.within}'", hint=hint)
    if kept is not None and kept.run.waiting:
        return kept.run, kept.run.waiting
    raise StateError(f"nothing waits under the name '{name}'", hint=command_line("approve", team=team))


def _decided(texts: Sequence[str] | None, request: ApprovalRequest, *, json: bool) -> list[Decision] | None:
    """The decisions as they were given, or as somebody at the terminal makes them; None: later."""
    if texts:
        return read_decisions(texts, request)
    if json:
        print_json(request)
    elif sys.stdin.isatty():
        return ask_decisions(Console(), request)
    else:
        show_request(Console(), request)
    return None


def _list(threads: Threads, team: Path, *, json: bool) -> None:
    from ..agents.workflows.runs import runs

    found: list[tuple[dict[str, Any], ApprovalRequest]] = []
    for thread in threads.list():
        if thread.standing == "waiting" and (left := threads.unfinished(thread.id)):
            found.append(({"thread": thread.id, "task": thread.task}, left.request))
    for run in runs(threads.records) if threads.records else []:
        if run.waiting and not run.within:
            found.append(({"run": run.run_id, "task": f"workflow {run.workflow}"}, run.waiting))
    if json:
        print_json([{**about, **request.model_dump(mode="json")} for about, request in found])
        return
    console = Console()
    for about, request in found:
        name = about.get("thread") or about["run"]
        console.print(f"[bold]{escape(visible(name))}[/] · {escape(visible(about['task']))}", highlight=False)
        show_request(console, request)
    then = f"{command_line('approve', team=team)} THREAD|RUN" if found else "nothing waits"
    console.print(f"[dim]{escape(then)}[/]", highlight=False, soft_wrap=True)
