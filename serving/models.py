"""`metier models`: what can be had, what is on this machine, bring it, remove it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import DownloadColumn

from ..core.errors import IntegrityError
from .options import AsJson, command_line, next_lines, print_json, progress_bars

if TYPE_CHECKING:
    from ..core.models import FileSpec, LocalModel, ModelInfo, ModelStore, StoredFile
    from ..core.run import Progress
    from ..specialists.engines.speed import BaseSpeeds, EngineSpeed

app = typer.Typer(help="Model files: list, pull, show, remove.", no_args_is_help=True)


class _OnThisMachine(TypedDict):
    prepared: dict[str, int]
    """Form to its bytes on the disk."""
    speeds: dict[str, EngineSpeed]
    """By engine, the fastest first."""


Names = Annotated[list[str], typer.Argument(help="Names from `metier models list`.", metavar="NAME…")]


@app.command("list")
def list_models(json: AsJson = False) -> None:
    """What can be pulled and what is on this machine: tier, size, licence, source, and how fast bases are here."""
    store = _store()
    models = store.list()
    here = {model.name: _on_this_machine(store, model) for model in models}
    if json:
        told = ({**model.model_dump(mode="json"), "sources": model.sources} for model in models)
        print_json([{**model, **here[model["name"]]} for model in told])
        return
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(model.name) for model in models)
    for model in sorted(models, key=lambda model: not model.pulled):
        mark = "[green]●[/]" if model.pulled else "[dim]○[/]"
        kind, terms = f"{model.kind} {model.tier or ''}", escape(f"{model.licence}; {model.about}")
        console.print(f"{mark} [bold]{model.name:{width}}[/]  {kind:12}  {_size(model.size):>7}  {terms}")
        for line in _details(model, **here[model.name]):
            console.print(f"  {'':{width}}  [dim]{escape(line)}[/]")
    console.print(f"\n[green]●[/] on this machine, in {escape(str(store.home))}   [dim]○[/] can be pulled")
    next_lines(console, "metier models pull NAME", "metier models show NAME")


def _details(model: ModelInfo, prepared: dict[str, int], speeds: dict[str, EngineSpeed]) -> Iterator[str]:
    """Where a model comes from; of a base what was made of it and how fast it is."""
    promised = all(file.sha256 for file in model.files.values())
    # A Hub repository has two names, a package one; what is inside stands in `metier models show`.
    places = dict.fromkeys("/".join(s.split("/")[: 2 if s.startswith("hf:") else 1]) for s in model.sources)
    yield f"from {', '.join(places)}{'' if promised else ' (its SHA-256 is recorded at the first pull)'}"
    if model.kind == "base":
        forms = ", ".join(f"{form} ({_size(size)})" for form, size in prepared.items())
        told = "; ".join(f"{engine} {speed}" for engine, speed in speeds.items())
        yield f"prepared: {forms or '-'}; speed here: {told or '-'}"


@app.command("pull")
def pull(
    names: Names,
    measure: Annotated[bool, typer.Option(help="Measure how fast a new base is here, for `engine: auto`.")] = True,
) -> None:
    """Bring models onto this machine and check them; nothing happens when they are there and whole."""
    store = _store()
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for name in names:
        bars = progress_bars(console, quiet=not console.is_terminal, transient=True, amount=DownloadColumn())
        with bars as report:
            model = store.pull(name, report)
            speeds = _measured(model, report) if measure and model.kind == "base" else None
        console.print(f"[green]✓[/] {name} ({escape(model.licence)})")
        for role, file in _info(store, name).files.items():
            if _trust(file) == "first-use":
                console.print(f"  {role}: trusted on first use; SHA-256 {file.sha256} is recorded")
        for engine, speed in speeds.engines.items() if speeds else ():
            console.print(f"  {engine} {speed}")
        for engine, reason in speeds.failed.items() if speeds else ():
            console.print(f"  {engine} cannot run it: {escape(reason)}")
    next_lines(console, command_line("models", "show", names[0]))


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="A name from `metier models list`.")], json: AsJson = False) -> None:
    """Licence, sources, hashes and places of one model."""
    store = _store()
    info = _info(store, name)
    paths = {role: str(path) for role, path in store.find(name).files.items()} if info.pulled else {}
    if json:
        print_json({**info.model_dump(mode="json"), "paths": paths})
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"[bold]{name}[/]  {info.kind}, {escape(info.licence)}, {_size(info.size)}")
    console.print(escape(info.about))
    for role, file in info.files.items():
        console.print(f"\n[bold]{role}[/] ({_trust(file)})")
        console.print(f"  from    {escape(file.source)}")
        console.print(f"  sha256  {file.sha256 or 'not promised; that of the first pull will be recorded'}")
        if role in paths:
            console.print(f"  here    {escape(paths[role])}")
    console.print()
    next_lines(console, command_line("models", "remove" if info.pulled else "pull", name))


@app.command("remove")
def remove(names: Names) -> None:
    """Take models off this machine."""
    store = _store()
    for name in names:
        print(f"{name} removed, {_size(store.remove(name))} freed")
    next_lines(Console(), command_line("models", "pull", names[0]))


def _store() -> ModelStore:
    from ..core.models import ModelStore  # Loads the download and quantisation libraries: only when needed.

    return ModelStore()


def _measured(base: LocalModel, report: Progress) -> BaseSpeeds:
    """How fast a base is here: what is known, or measured now."""
    from ..specialists.engines.speed import known_speeds, measure_speeds

    return known_speeds(base) or measure_speeds(base, report)


def _on_this_machine(store: ModelStore, model: ModelInfo) -> _OnThisMachine:
    """What was made of a base after the download, and how fast it is on each engine, as far as that was measured."""
    from ..specialists.engines.speed import known_speeds, prepared_forms

    if model.kind != "base" or not model.pulled:
        return {"prepared": {}, "speeds": {}}
    try:
        base = store.find(model.name)
    except IntegrityError:
        return {"prepared": {}, "speeds": {}}
    speeds = known_speeds(base)
    return {"prepared": prepared_forms(base), "speeds": speeds.engines if speeds else {}}


def _info(store: ModelStore, name: str) -> ModelInfo:
    known = {info.name: info for info in store.list()}
    if name not in known:
        store.find(name)  # Says in the store's own words that there is no such model.
    return known[name]


def _trust(file: StoredFile | FileSpec) -> str:
    """Why the file's hash is believed."""
    return getattr(file, "trust", "promised" if file.sha256 else "first-use")


def _size(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count else "?"
