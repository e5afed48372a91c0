"""`metier models`: what can be had, what is on this machine, bring it, remove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import DownloadColumn

from .options import AsJson, command_line, next_lines, print_json, progress_bars

if TYPE_CHECKING:
    from ..core.models import FileSpec, ModelInfo, ModelStore, StoredFile

app = typer.Typer(help="Model files: list, pull, show, remove.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(help="Names from `metier models list`.", metavar="NAME…")]


@app.command("list")
def list_models(json: AsJson = False) -> None:
    """What can be pulled and what is on this machine."""
    store = _store()
    models = store.list()
    if json:
        print_json(models)
        return
    console = Console(soft_wrap=True, highlight=False)
    for model in sorted(models, key=lambda model: not model.pulled):
        mark = "[green]●[/]" if model.pulled else "[dim]○[/]"
        name, about = f"{model.name:{max(len(m.name) for m in models)}}", escape(model.about)
        console.print(
            f"{mark} [bold]{name}[/]  {model.kind:8}  {_size(model.size):>7}  {about} ({escape(model.licence)})"
        )
    console.print(f"\n[green]●[/] on this machine, in {escape(str(store.home))}   [dim]○[/] can be pulled")
    next_lines(console, "metier models pull NAME", "metier models show NAME")


@app.command("pull")
def pull(names: Names) -> None:
    """Bring models onto this machine and check them; nothing happens when they are there and whole."""
    store = _store()
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for name in names:
        bars = progress_bars(console, quiet=not console.is_terminal, transient=True, amount=DownloadColumn())
        with bars as report:
            model = store.pull(name, report)
        console.print(f"[green]✓[/] {name} ({escape(model.licence)})")
        for role, file in _info(store, name).files.items():
            if _trust(file) == "first-use":
                console.print(f"  {role}: trusted on first use; SHA-256 {file.sha256} is recorded")
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
