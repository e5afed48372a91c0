"""`metier knowledge`: the documents of a specialist."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import ConfigError, InputError, KnowledgeError, UnreadableDocument, unknown
from .ask import TeamFolder

if TYPE_CHECKING:
    from ..agents.cards import Blueprint
    from ..specialists.knowledge.knowledge import Knowledge

app = typer.Typer(help="The documents of a specialist: add, list, search, remove.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SPECIALIST", help="Name of the specialist.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    specialist: Name,
    files: Annotated[list[Path], typer.Argument(help="Documents, or folders of them.", show_default=False)],
    team: TeamFolder = Path(),
) -> None:
    """Copy documents into the specialist's folder and index them. A document of the same name is replaced."""
    from ..specialists.knowledge.build import scan
    from ..specialists.knowledge.readers import read, with_readers

    blueprint = _blueprint(team, specialist)
    card = blueprint.specialists[specialist].knowledge
    readers = with_readers(card.readers if card else {})
    found = scan(files, kinds=readers)
    for name, path in found.files.items():
        try:
            read(path, name, readers)
        except UnreadableDocument as error:
            found.skipped[name] = error.message
    console = Console()
    copied = 0
    for name, path in found.files.items():
        if name in found.skipped:
            continue
        target = _folder(blueprint, specialist) / name
        if target.resolve() != path.resolve():
            console.print(f"{'replaced' if target.exists() else 'added'} {escape(name)}", highlight=False)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        copied += 1
    for name, reason in found.skipped.items():
        console.print(f"[yellow]skipped[/] {escape(name)}: {escape(reason)}", highlight=False)
    if not copied:
        raise KnowledgeError(f"nothing to add: none of {', '.join(map(str, files))} can be read")
    _build(blueprint, specialist)


@app.command("list")
def list_documents(specialist: Name, team: TeamFolder = Path(), json: AsJson = False) -> None:
    """The documents in the specialist's index."""
    blueprint = _blueprint(team, specialist)
    documents = _open(blueprint, specialist).documents()
    if json:
        print(dumps([asdict(document) for document in documents], indent=2, ensure_ascii=False))
        return
    table = Table("document", "title", "passages", "characters", box=None)
    for document in documents:
        row = (document.source, document.title, f"{document.passages}", f"{document.characters}")
        table.add_row(*map(escape, row))
    Console().print(table)


@app.command()
def search(
    specialist: Name,
    query: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="How many passages.")] = 3,
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """The passages that a specialist would read for a question."""
    from .ask import shorten

    blueprint = _blueprint(team, specialist)
    passages = _open(blueprint, specialist).search(query, k)
    if json:
        print(dumps([passage.model_dump(mode="json") for passage in passages], indent=2, ensure_ascii=False))
        return
    console = Console()
    for passage in passages:
        page = f", page {passage.page}" if passage.page else ""
        where = escape(f"{passage.source}{page}{''.join(f' › {title}' for title in passage.heading)}")
        console.print(f"[bold]{passage.score:.2f}[/] [cyan]{where}[/]", highlight=False)
        console.print(f"     {escape(shorten(passage.text))}", highlight=False)
    if not passages:
        console.print("nothing found")


@app.command()
def remove(
    specialist: Name,
    documents: Annotated[list[str], typer.Argument(help="Names as `list` shows them.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    team: TeamFolder = Path(),
) -> None:
    """Delete documents of a specialist, from its folder and from the index."""
    blueprint = _blueprint(team, specialist)
    paths = [_document(blueprint, specialist, name) for name in documents]
    if not yes:
        typer.confirm(f"Delete {', '.join(documents)} for good?", abort=True)
    for path in paths:
        path.unlink()
    _build(blueprint, specialist)


def _blueprint(team: Path, specialist: str) -> Blueprint:
    from ..agents.cards import Blueprint

    blueprint = Blueprint.read(team)
    if specialist not in blueprint.specialists:
        raise InputError(unknown("specialist", specialist, blueprint.specialists))
    if blueprint.specialists[specialist].knowledge is None:
        raise ConfigError(
            f"'{specialist}' has no documents",
            file=blueprint.folders[specialist] / "specialist.yaml",
            hint="add to it: knowledge: {sources: [documents]}",
        )
    return blueprint


def _folder(blueprint: Blueprint, specialist: str) -> Path:
    """Where added documents go: the first folder among the card's sources."""
    base, card = blueprint.folders[specialist], blueprint.specialists[specialist].knowledge
    folders = [base / source for source in (card.sources if card else ()) if not (base / source).is_file()]
    if not folders:
        raise ConfigError(
            "there is no folder among the sources of knowledge",
            file=base / "specialist.yaml",
            field="knowledge.sources",
            hint="add one: sources: [documents]",
        )
    folders[0].mkdir(parents=True, exist_ok=True)
    return folders[0]


def _document(blueprint: Blueprint, specialist: str, name: str) -> Path:
    """The file of a document, by its name in the index or below the documents' folder."""
    base = blueprint.folders[specialist].resolve()
    known = [document.source for document in _open(blueprint, specialist).documents()]
    for path in (base / name, _folder(blueprint, specialist) / name):
        if path.is_file() and path.resolve().is_relative_to(base):
            return path
    raise InputError(unknown("document", name, known), hint=f"metier knowledge list {specialist}")


def _open(blueprint: Blueprint, specialist: str) -> Knowledge:
    from ..agents.assemble import knowledge_folder
    from ..core.models import ModelStore
    from ..core.onnx_embedder import load_embedder
    from ..specialists.knowledge.knowledge import Knowledge

    return Knowledge.open(knowledge_folder(blueprint, specialist), load_embedder(blueprint.card.embedder, ModelStore()))


def _build(blueprint: Blueprint, specialist: str) -> None:
    """Build the team, which does again only what changed, and say what happened to the specialist's documents."""
    from ..agents.build import build
    from .ask import shown

    with shown(Console(stderr=True)) as progress:
        report: Any = build(blueprint, progress=progress).knowledge[specialist]
    changes = {"added": report.added, "changed": report.changed, "removed": report.removed}
    done = ", ".join(f"{len(names)} {word}" for word, names in changes.items() if names) or "nothing changed"
    Console().print(f"{specialist}: {done}; {report.passages} passages", highlight=False)
