"""`metier registry`: versions of a specialist's adapter, which one is in use, and their way in and out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import InputError
from .ask import shorten
from .options import (
    AsJson,
    SpecialistName,
    TeamFolder,
    blueprint_of,
    command_line,
    next_lines,
    print_json,
    progress_bars,
)

if TYPE_CHECKING:
    from ..agents.cards import Blueprint

app = typer.Typer(
    help="Versions of the specialists' adapters: list, compare, promote, roll back, exchange.", no_args_is_help=True
)

Ref = Annotated[str, typer.Argument(metavar="VERSION", help="champion, challenger, or the beginning of an id.")]


@app.command("list")
def list_versions(
    specialist: Annotated[str | None, typer.Argument(help="Only of this one.")] = None,
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """All versions, newest first, and which of them is in use."""
    blueprint = blueprint_of(team, *[specialist] if specialist else [])
    names = [specialist] if specialist else list(blueprint.specialists)
    rows = [_row(blueprint, name, id) for name in names for id in blueprint.registry.versions(name)]
    if json:
        print_json(rows)
        return
    table = Table("specialist", "version", "is", "made", "what happened last", box=None)
    for row in rows:
        cells = (row["specialist"], row["version"], row["alias"], row["made"], row["last"])
        table.add_row(*map(escape, cells))
    console = Console()
    console.print(table if rows else "no versions yet")
    if not rows:
        next_lines(console, command_line("train", team=team))


@app.command()
def show(specialist: SpecialistName, ref: Ref = "champion", team: TeamFolder = Path(), json: AsJson = False) -> None:
    """What a version is made of, and what happened to it; its hashes are checked."""
    registry = blueprint_of(team, specialist).registry
    version = registry.find(specialist, ref)
    events = [e.model_dump(exclude={"version"}) for e in registry.state(specialist).events if e.version == version.id]
    if json:
        print_json({"version": version.id, "record": version.record, "events": events})
        return
    console = Console()
    console.print(f"[bold]{specialist}@{version.id}[/] {escape(str(version.path))}", highlight=False)
    for key, value in _flat(_telling(version.record)).items():
        console.print(f"  [dim]{escape(key)}[/] {escape(str(value))}", highlight=False)
    for event in events:
        console.print(f"  {event['at']} {event['did']}: {escape(event['why'])}", highlight=False)


@app.command()
def diff(
    specialist: SpecialistName,
    old: Annotated[str, typer.Argument(metavar="VERSION")] = "champion",
    new: Annotated[str, typer.Argument(metavar="OTHER")] = "challenger",
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """Where two versions differ: data, recipe, card, figures."""
    registry = blueprint_of(team, specialist).registry
    before, after = (_flat(registry.find(specialist, ref).record) for ref in (old, new))
    keys = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    if json:
        print_json({key: [before.get(key), after.get(key)] for key in keys})
        return
    table = Table("", old, new, box=None)
    for key in keys:
        table.add_row(*(escape(shorten(str(v), 60)) for v in (key, before.get(key, "–"), after.get(key, "–"))))
    Console().print(table if keys else "no difference")


@app.command()
def promote(specialist: SpecialistName, ref: Ref = "challenger", team: TeamFolder = Path()) -> None:
    """Put a version in use, without the gate. It works from the next start of the team."""
    version = blueprint_of(team, specialist).registry.promote(specialist, ref)
    Console().print(f"{specialist}: {version.id} is the champion now", highlight=False)


@app.command()
def rollback(specialist: SpecialistName, team: TeamFolder = Path()) -> None:
    """Bring the champion before back. It works from the next start of the team."""
    back = blueprint_of(team, specialist).registry.rollback(specialist)
    what = f"{back} is the champion again" if back else "the adapter of its card is in use again"
    Console().print(f"{specialist}: {what}", highlight=False)


@app.command()
def remove(specialist: SpecialistName, ref: Ref, team: TeamFolder = Path()) -> None:
    """Delete a version that is not in use."""
    removed = blueprint_of(team, specialist).registry.remove(specialist, ref)
    Console().print(f"{specialist}: {removed} is removed", highlight=False)


@app.command("export")
def export_version(
    specialist: SpecialistName,
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.", show_default=False)],
    ref: Ref = "champion",
    team: TeamFolder = Path(),
) -> None:
    """Write a version as a PEFT repository with a model card, ready for the Hugging Face Hub."""
    from ..specialists.adapters.exchange import export_version as export

    registry = blueprint_of(team, specialist).registry
    version = registry.find(specialist, ref)
    history = [
        f"- {e.did}: {e.why}" for e in registry.state(specialist).events if e.version == version.id and e.did != "added"
    ]
    export(version, folder, "\n".join(history))
    Console().print(f"{specialist}@{version.id} → {escape(str(folder))}", highlight=False)


@app.command("import")
def import_version(
    specialist: SpecialistName,
    folder: Annotated[Path, typer.Argument(help="A PEFT repository.", show_default=False)],
    team: TeamFolder = Path(),
) -> None:
    """Take an adapter from a PEFT repository as the challenger; `metier build` decides whether it is better."""
    from ..core.models import ModelStore
    from ..specialists.adapters.exchange import import_adapter

    blueprint = blueprint_of(team, specialist)
    version = import_adapter(blueprint.registry, specialist, folder, ModelStore().find(blueprint.base_of(specialist)))
    console = Console()
    console.print(f"{specialist}: {version.id} is the challenger now", highlight=False)
    next_lines(console, command_line("build", team=team))


@app.command()
def merge(
    specialist: SpecialistName,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.gguf", help="Does not exist yet.", show_default=False)],
    version: Annotated[
        str | None, typer.Argument(help="As elsewhere; left out: the adapter in use.", show_default=False)
    ] = None,
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """Write base and adapter as one GGUF: a model by itself, for llama.cpp and whatever builds on it."""
    from ..core.files import replace_file, sha256
    from ..core.models import ModelStore
    from ..core.run import part_of
    from ..specialists.adapters.merge import merge as write

    blueprint = blueprint_of(team, specialist)
    if out.suffix != ".gguf" or out.exists():
        raise InputError(
            f"{out} {'exists already' if out.exists() else 'does not end in .gguf'}", hint="--out new.gguf"
        )
    adapter = _adapter(blueprint, specialist, version)
    base = ModelStore().find(blueprint.base_of(specialist)).files["gguf"]
    with progress_bars(Console(stderr=True), quiet=json) as progress, replace_file(out) as fresh:
        write(adapter, base, fresh, part_of(progress, specialist))
    if json:
        print_json({"specialist": specialist, "adapter": str(adapter), "file": str(out), "sha256": sha256(out)})
        return
    console = Console(soft_wrap=True)
    console.print(f"{specialist} ({escape(adapter.name)}) → {escape(str(out))}", highlight=False)
    next_lines(console, shlex.join(["llama-server", "-m", str(out)]), "base: FILE.gguf in a team.yaml")


def _adapter(blueprint: Blueprint, specialist: str, version: str | None) -> Path:
    """The adapter of a version, or the one in use. Raises InputError where there is none for its base."""
    from ..agents.assemble import adapter_of
    from ..specialists.adapters.choose import trained_on

    base, held = blueprint.base_of(specialist), ", ".join(blueprint.registry.versions(specialist)) or "none"
    if version is None:
        used = adapter_of(blueprint, specialist)
        if isinstance(used, Path):
            return used
        raise InputError(f"'{specialist}' has no adapter on this machine", hint=f"name a version; there are: {held}")
    adapter = blueprint.registry.find(specialist, version)
    if not trained_on(adapter.path, base):
        raise InputError(f"{adapter.id} was made for another base than {base}", hint=f"versions: {held}")
    return adapter.path


def _row(blueprint: Blueprint, name: str, id: str) -> dict[str, Any]:
    state = blueprint.registry.state(name)
    events = [e for e in state.events if e.version == id]
    alias = "champion" if id == state.champion else "challenger" if id == state.challenger else ""
    made, last = (events[0].at, f"{events[-1].did}: {events[-1].why}") if events else ("", "")
    return {"specialist": name, "version": id, "alias": alias, "made": made, "last": last}


def _telling(record: dict[str, Any]) -> dict[str, Any]:
    """The record without its long curves."""
    report = {k: v for k, v in record.get("report", {}).items() if k not in ("losses", "validation")}
    return {**record, "report": report} if report else record


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return flat
