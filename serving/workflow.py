"""`metier run`, `metier runs` and `metier workflow`: tasks with several steps, started, looked at, gone on with."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from ..core.errors import ConfigError, InputError, StateError, unknown
from .ask import open_team, read_decisions, shorten, show_arguments, visible
from .options import AsJson, TeamFolder, blueprint_of, command_line, next_lines, print_json, progress_bars

if TYPE_CHECKING:
    from ..agents.threads import Threads
    from ..agents.workflows.execute import Workflow
    from ..agents.workflows.plan import Fault, Plan
    from ..agents.workflows.runs import KeptRun, WorkflowRun
    from ..core.run import Event
    from ..tools.policy import Action, ApprovalRequest, Decision

app = typer.Typer(help="Runs of workflows: list, show, compare, go on, replay.", no_args_is_help=True)
plans = typer.Typer(help="Workflows of a team: list, check, draw, import, keep.", no_args_is_help=True)

_WAITS = 75
"""EX_TEMPFAIL of sysexits.h: start it again later; a person must decide first."""
_FAILED = 1
_WRONG = 2

WorkflowName = Annotated[
    str, typer.Argument(metavar="WORKFLOW", help="Its name in `workflows/`, or the path of its file.")
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")]
Parameters = Annotated[
    list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A parameter; once for each.")
]
Output = Annotated[Path | None, typer.Option("--output", help="Folder for reports; left out: one of the run's own.")]


def run(
    workflow: WorkflowName,
    parameter: Parameters = None,
    team: TeamFolder = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")] = False,
    rows: Annotated[
        Path | None, typer.Option("--in", help="JSONL with the parameters of one run a line.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSONL that gets the results; it is gone on with.")] = None,
    workers: Annotated[int, typer.Option(help="Rows at the same time.", min=1)] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Do rows anew that failed.")] = False,
    run_id: Annotated[str | None, typer.Option("--run", help="Name of the run.")] = None,
    output: Output = None,
    json: AsJson = False,
) -> None:
    """Run a workflow. Exit codes: 0 done, 1 failed, 2 wrong use, 75 a person must decide first."""
    if (rows is None) != (out is None):
        raise InputError("rows come in and go out: give both --in and --out")
    given = _read_pairs(parameter or [])
    with _opened(workflow, team, output, quiet=json) as made:
        if dry_run:
            _show_dry(made, given, json=json)
            return
        if rows and out:
            _run_rows(made, rows, out, workers=workers, retry=retry, json=json)
            return
        with _shown(made.plan, quiet=json) as tell:
            done = made.run(given, run_id, emit=tell)
    _end(done, team, json=json)


@app.command("list")
def list_runs(team: TeamFolder = Path(), json: AsJson = False) -> None:
    """All runs, the latest first."""
    from ..agents.workflows.runs import runs

    with _runs(team) as threads:
        known = runs(threads.records) if threads.records else []
    if json:
        print_json(known)
        return
    grid = Grid(box=None, header_style="dim")
    # Names of runs are copied into the next command: they are never cut.
    grid.add_column("run", no_wrap=True, min_width=max((len(visible(one.run_id)) for one in known), default=0))
    for column in ("workflow", "status", "seconds", "result"):
        grid.add_column(column)
    for one in known:
        text = shorten(str(one.result), 60) if one.result is not None else _why(one)
        seconds = f"{one.timings.get('total', 0.0):.1f}"
        grid.add_row(*map(escape, (visible(one.run_id), one.workflow, one.status, seconds, visible(text))))
    Console().print(grid if known else "no runs yet")


@app.command()
def show(run: RunName, team: TeamFolder = Path(), json: AsJson = False) -> None:
    """A run: what each of its steps gave."""
    with _runs(team) as threads:
        _show_run(_find(threads, run).run, json=json)


@app.command()
def compare(
    before: RunName,
    after: Annotated[str, typer.Argument(metavar="RUN", help="The other run.")],
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """The steps that two runs did not do alike."""
    from ..agents.workflows.runs import compare_runs

    with _runs(team) as threads:
        differences = compare_runs(_find(threads, before).run, _find(threads, after).run)
    if json:
        print_json(differences)
        return
    console = Console(highlight=False)
    for one in differences:
        console.print(f"[bold]{escape(one.step)}[/]  {one.seconds_before:.2f} s → {one.seconds_after:.2f} s")
        console.print(f"  [red]- {escape(visible(shorten(one.before)))}[/]")
        console.print(f"  [green]+ {escape(visible(shorten(one.after)))}[/]")
    if not differences:
        console.print("the same")


@app.command()
def resume(
    run: RunName,
    decisions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DECISION]...", help="One for each call that waits, as for `metier approve`."),
    ] = None,
    team: TeamFolder = Path(),
    output: Output = None,
    json: AsJson = False,
) -> None:
    """Go on with a run that waits for a person, or that was broken off."""
    with _runs(team) as threads:
        known = _find(threads, run).run
    if known.waiting and not decisions:
        _show_run(known, json=json, team=team)
        raise typer.Exit(_WAITS)
    go_on(known, read_decisions(decisions or (), known.waiting) if known.waiting else [], team, output, json=json)


@app.command()
def replay(
    run: RunName,
    step: Annotated[str, typer.Option("--from", help="The first step to do again.")],
    team: TeamFolder = Path(),
    output: Output = None,
    json: AsJson = False,
) -> None:
    """Run a workflow as it is now once more from a step on; of the steps before, the earlier results count."""
    with _runs(team) as threads:
        known = _find(threads, run).run
    with _opened(known.workflow, team, output, quiet=json) as workflow, _shown(workflow.plan, quiet=json) as tell:
        done = workflow.replay(run, step, emit=tell)
    _end(done, team, json=json)


@plans.command("list")
def list_plans(team: TeamFolder = Path(), json: AsJson = False) -> None:
    """The workflows of a team and those that come with metier, with their parameters."""
    from ..agents.workflows.files import SHIPPED, read_plan, read_plans

    shipped = {path.stem: read_plan(path) for path in sorted(SHIPPED.glob("*.yaml"))}
    known = {**shipped, **read_plans(blueprint_of(team).root)}
    if json:
        print_json({name: plan.model_dump(mode="json", exclude_defaults=True) for name, plan in known.items()})
        return
    console = Console(highlight=False)
    for name, plan in known.items():
        console.print(f"[bold]{name}[/] {escape(' '.join(plan.parameters))}")
        console.print(f"  [dim]{escape(plan.description)}[/]")
    if known == shipped:
        console.print("none of this team's own: a folder `workflows` beside team.yaml holds them")


@plans.command()
def check(
    workflow: Annotated[
        str | None,
        typer.Argument(metavar="[WORKFLOW]", help="Its name, or the path of its file; left out: all of the team's."),
    ] = None,
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """All that is wrong with a workflow, each with its line. Exit code 2 when it cannot run."""
    from ..agents.upkeep import Upkeep
    from ..agents.workflows.files import FOLDER, check_file, read_plans
    from ..agents.workflows.perform import known_of

    root = blueprint_of(team).root
    paths = [_file(workflow, team)] if workflow else sorted((root / FOLDER).glob("*.yaml"))
    if not paths:
        raise InputError("this team has no workflows", hint=f"write {root / FOLDER}/NAME.yaml")
    with open_team(team, quiet=json) as opened:
        known = known_of(Upkeep(opened), read_plans(opened.blueprint.root))
        found = {path: check_file(path, known) for path in paths}
    if json:
        several = {path.name: _faults(faults) for path, faults in found.items()}
        print_json(next(iter(several.values())) if workflow else several)
    else:
        for path, faults in found.items():
            _show_faults(path, faults)
    if any(fault.blocking for faults in found.values() for _, fault in faults):
        raise typer.Exit(_WRONG)


@plans.command()
def draw(
    workflow: WorkflowName,
    to: Annotated[Path | None, typer.Option("--to", help="A .png; left out: Mermaid text is printed.")] = None,
    team: TeamFolder = Path(),
    run: Annotated[str | None, typer.Option("--run", help="Colour the steps as they stand in this run.")] = None,
) -> None:
    """Draw a workflow, as Mermaid text or as a picture."""
    from ..agents.workflows.draw import draw_plan, plan_picture
    from ..agents.workflows.files import read_plan

    plan, states = read_plan(_file(workflow, team)), dict[str, str]()
    if run:
        with _runs(team) as threads:
            states = _find(threads, run).run.states
    if to is None:
        print(draw_plan(plan, states))
        return
    plan_picture(plan, to, states)


@plans.command("import")
def import_programs(
    source: Annotated[Path, typer.Argument(help="A YAML file of OpenSSA's expert programs.")],
    team: TeamFolder = Path(),
    ask: Annotated[str, typer.Option(help="Who is asked: a specialist, or `team` for the router.")] = "team",
) -> None:
    """Bring expert programs of OpenSSA: each becomes a workflow of the team."""
    from ..agents.workflows.files import FOLDER, write_plan
    from ..agents.workflows.files import import_programs as read_programs

    folder = blueprint_of(team).root / FOLDER
    read = read_programs(source, ask)
    there = [name for name in read if (folder / f"{name}.yaml").exists()]
    if there:
        raise InputError(f"there is a workflow '{there[0]}' already", hint=f"move {folder / there[0]}.yaml away")
    for name, plan in read.items():
        write_plan(plan, folder / f"{name}.yaml")
        print(folder / f"{name}.yaml")
    next_lines(Console(stderr=True), command_line("workflow", "check", next(iter(read)), team=team))


@plans.command("keep")
def keep_run(
    run: RunName,
    name: Annotated[str, typer.Argument(help="What the workflow is called.")],
    team: TeamFolder = Path(),
) -> None:
    """Keep the plan of a run that worked as a workflow of the team: what its task names becomes parameters."""
    from ..agents.workflows.store import generalise, keep_plan
    from ..specialists.card import NAME

    if not re.match(NAME, name):
        raise InputError(f"'{name}' is no name for a workflow", hint="small letters, digits, - and _")
    with _runs(team) as threads:
        found, plan, *_ = _find(threads, run)
    if found.status != "done":
        raise StateError(f"run '{run}' is {found.status}: only what worked is kept", hint="metier runs list")
    if plan.parameters or not plan.examples:
        raise InputError(f"run '{run}' is one of the workflow '{plan.name}', which is kept already")
    print(keep_plan(generalise(plan, plan.examples[0], name), blueprint_of(team).root))
    next_lines(Console(stderr=True), command_line("build", team=team))


# What they share.


def _file(name: str, team: Path) -> Path:
    """The file of a workflow: the team's own, or one that comes with metier.

    Raises:
        InputError: there is none of that name.
    """
    from ..agents.workflows.files import FOLDER, SHIPPED

    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    folder = (team if team.is_dir() else team.parent) / FOLDER
    known = {one.stem: one for place in (SHIPPED, folder) for one in place.glob("*.yaml")}
    if name not in known:
        raise InputError(unknown("workflow", name, known), hint=f"write {folder / name}.yaml")
    return known[name]


@contextmanager
def _opened(name: str, folder: Path, output: Path | None, *, quiet: bool, run: str | None = None) -> Iterator[Workflow]:
    """A workflow with its team; where the workflow stands in a file of its own and there is no team, without one.

    Args:
        run: A run that is gone on with: the plan with which it began counts.
    """
    from ..agents.upkeep import Upkeep
    from ..agents.workflows.execute import Workflow
    from ..agents.workflows.files import read_plan, read_plans
    from ..agents.workflows.perform import known_of

    if not run:
        path = _file(name, folder)
        if not (folder / "team.yaml").exists() and Path(name).suffix in (".yaml", ".yml"):
            yield Workflow(read_plan(path), folder=output or Path())
            return
    with open_team(folder, quiet=quiet) as team:
        others, colleagues = read_plans(team.blueprint.root), Upkeep(team)
        plan = _find(team.threads, run).plan if run else read_plan(path, known_of(colleagues, others))  # pyright: ignore
        yield Workflow(plan, colleagues, workflows=others, folder=output)


@contextmanager
def _runs(team: Path) -> Iterator[Threads]:
    from ..agents.threads import open_threads

    threads = open_threads(blueprint_of(team))
    try:
        if threads.records is None:
            raise StateError("this team keeps no runs", hint="memory: {checkpoints: sqlite} in team.yaml")
        yield threads
    finally:
        threads.close()


def _find(threads: Threads, run: str) -> KeptRun:
    from ..agents.workflows.runs import kept_run, runs

    kept = kept_run(threads, run)
    if kept is None:
        known = runs(threads.records) if threads.records else []
        raise InputError(unknown("run", run, [one.run_id for one in known[:20]]), hint="metier runs list")
    return kept


def _read_pairs(pairs: Sequence[str]) -> dict[str, str]:
    given = dict[str, str]()
    for pair in pairs:
        name, mark, value = pair.partition("=")
        if not mark:
            raise InputError(f"'{pair}' is no parameter", hint="-p site=North")
        given[name.strip()] = value
    return given


@contextmanager
def _shown(plan: Plan, *, quiet: bool) -> Iterator[Any]:
    """Shows on a terminal how far a run is."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda event: None
        return
    with console.status(f"{plan.name} …", spinner="line") as status:

        def tell(event: Event) -> None:
            if event.name == "step" and event.data["state"] == "begun":
                status.update(f"{plan.name}: {event.data['step']} …")

        yield tell


def go_on(
    run: WorkflowRun, decisions: Sequence[Decision], team: Path, output: Path | None = None, *, json: bool
) -> NoReturn:
    """Go on with a run that waits, or that was broken off; print it, and end with its exit code.

    Raises:
        StateError: it is a part of a conversation, where its questions are answered.
    """
    if run.within:
        hint = command_line("approve", run.within, team=team)
        raise StateError(f"run '{run.run_id}' is a part of conversation '{run.within}'", hint=hint)
    again = _opened(run.workflow, team, output, quiet=json, run=run.run_id)
    with again as workflow, _shown(workflow.plan, quiet=json) as tell:
        done = workflow.resume(run.run_id, decisions, emit=tell)
    _end(done, team, json=json)


def _end(run: WorkflowRun, team: Path, *, json: bool) -> NoReturn:
    """Print a run and end with its exit code."""
    _show_run(run, json=json, team=team)
    raise typer.Exit({"done": 0, "waiting": _WAITS, "running": _WAITS}.get(run.status, _FAILED))


def _why(run: WorkflowRun) -> str:
    if run.waiting:
        return "; ".join(action.description for action in run.waiting.action_requests)
    return "; ".join(f"{one.step}: {one.reason}" for one in run.trouble)


def _show_run(run: WorkflowRun, *, json: bool, team: Path = Path()) -> None:
    if json:
        print_json(run)
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, result in run.results.items():
        seconds = f"{run.timings[name]:.2f} s" if name in run.timings else ""
        console.print(f"[cyan]{escape(name)}[/] [dim]{result.kind} {seconds}[/]")
        console.print(f"  {escape(visible(shorten(str(result))))}")
    for one in run.trouble:
        console.print(f"[yellow]{escape(one.step)}: {escape(visible(one.reason))}[/]")
    if run.result is not None:
        console.print(f"[bold]{escape(_lines(str(run.result)))}[/]")
    if not run.waiting:
        return
    ways = list[list[str]]()
    for action, allowed in _asked(run.waiting):
        console.print(f"[yellow]{escape(visible(action.description))}[/]")
        if action.name not in _QUESTIONS:
            show_arguments(console, action)
        choices = [visible(str(choice)) for choice in action.args.get("choices", ())]
        if choices:
            which = f"approve: {choices[0]}; reject: {choices[-1]}" if "approve" in allowed else ", ".join(choices)
            console.print(f"[yellow]  {escape(which)}[/]")
        for source in action.args.get("sources", ()):
            console.print(f"  [green]{escape(visible(str(source)))}[/]")
        ways.append(["approve"] if "approve" in allowed else [f"respond:{one}" for one in choices or ["your answer"]])
    decisions = ["approve"] if all(way == ["approve"] for way in ways) else [way[0] for way in ways]
    # One question with several choices: which of them is copied is the person's decision.
    lines = [[one] for one in ways[0]] if len(ways) == 1 else [decisions]
    next_lines(Console(stderr=True), *(command_line("approve", run.run_id, *one, team=team) for one in lines))


_QUESTIONS = ("ask_person", "step_failed")
"""Not calls of a tool: what they ask stands in their words."""


def _asked(request: ApprovalRequest) -> Iterator[tuple[Action, Sequence[str]]]:
    """What a run waits for, each with the decisions that are allowed."""
    for action, review in zip(request.action_requests, request.review_configs, strict=True):
        yield action, review.allowed_decisions


def _lines(text: str) -> str:
    return "\n".join(map(visible, text.splitlines()))


def _show_dry(workflow: Workflow, given: Mapping[str, str], *, json: bool) -> None:
    steps = workflow.dry_run(given)
    if json:
        print_json(steps)
        return
    console = Console(highlight=False, soft_wrap=True)
    for number, one in enumerate(steps, 1):
        times = f" at most {one.at_most} times" if one.at_most > 1 else ""
        effect = f" [yellow]{one.effect}[/]" if one.effect else ""
        console.print(f"{number}. [cyan]{escape(one.step)}[/] [dim]{one.kind}{times}[/]{effect}")
        console.print(f"   {escape(visible(shorten(one.does)))}")


def _run_rows(workflow: Workflow, rows: Path, out: Path, *, workers: int, retry: bool, json: bool) -> None:
    from ..agents.workflows.rows import run_rows

    with progress_bars(Console(stderr=True), quiet=json) as progress:
        done = run_rows(workflow, rows, out, workers=workers, retry=retry, progress=progress)
    if json:
        print_json(done)
    else:
        waiting = f", {done.waiting} wait for a person" if done.waiting else ""
        print(f"{done.rows} rows: {done.done} done, {done.failed} failed{waiting} → {out}")
    raise typer.Exit(_WAITS if done.waiting else _FAILED if done.failed else 0)


def _faults(faults: Sequence[tuple[int, Fault]]) -> list[dict[str, Any]]:
    return [{"line": line, **fault.model_dump(mode="json")} for line, fault in faults]


def _show_faults(path: Path, faults: Sequence[tuple[int, Fault]]) -> None:
    for line, fault in faults:
        print(ConfigError(fault.what, file=path, line=line, field=fault.where, hint=fault.hint or None))
    if not faults:
        print(f"{path}: nothing is wrong", file=sys.stdout)
