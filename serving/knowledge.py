"""`metier knowledge`: the documents of a specialist."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import ConfigError, InputError, KnowledgeError, unknown
from .ask import place, shorten
from .options import AsJson, SpecialistName, TeamFolder, Yes, blueprint_of, command_line, print_json, progress_bars

if TYPE_CHECKING:
    from ..agents.cards import Blueprint
    from ..specialists.knowledge.build import IndexReport
    from ..specialists.knowledge.knowledge import Knowledge

app = typer.Typer(help="The documents of a specialist: add, list, search, remove.", no_args_is_help=True)


@app.command()
def add(
    specialist: SpecialistName,
    files: Annotated[list[Path], typer.Argument(help="Documents, or folders of them.", show_default=False)],
    team: TeamFolder = Path(),
) -> None:
    """Copy documents into the specialist's folder and index them. A document of the same name is replaced.

    One that the build cannot read is taken out again, and what it replaced is put back.
    """
    from ..specialists.knowledge.build import scan
    from ..specialists.knowledge.readers import with_readers

    blueprint = _blueprint(team, specialist)
    card = blueprint.specialists[specialist].knowledge
    listed = scan(files, kinds=with_readers(card.readers if card else {}, [blueprint.root]))
    if not listed.files:
        raise _nothing_to_add(listed.skipped)
    console = Console()
    with TemporaryDirectory() as kept:
        copies = {
            name: _Copy.make(path, documents_folder(blueprint, specialist) / name, Path(kept, str(number)))
            for number, (name, path) in enumerate(listed.files.items())
        }
        refused = _index(blueprint, specialist, copies)
    for name, copy in copies.items():
        if name not in refused and copy.did:
            console.print(f"{copy.did} {escape(name)}", highlight=False)
    for name, reason in {**listed.skipped, **refused}.items():
        console.print(f"[yellow]skipped[/] {escape(name)}: {escape(reason)}", highlight=False)
    if len(refused) == len(copies):
        raise _nothing_to_add(refused)


def _nothing_to_add(skipped: Mapping[str, str]) -> KnowledgeError:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:5])
    return KnowledgeError(f"nothing to add: {reasons or 'the folders are empty'}")


@dataclass(frozen=True)
class _Copy:
    """A document that was copied to `target`, and how to undo that."""

    target: Path
    did: str
    """`added`, `replaced`, or nothing when it lies there already."""
    before: Path
    """What lay there before, when it was replaced."""

    @classmethod
    def make(cls, path: Path, target: Path, before: Path) -> _Copy:
        if target.resolve() == path.resolve():
            return cls(target, "", before)
        did = "replaced" if target.exists() else "added"
        if did == "replaced":
            shutil.copyfile(target, before)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        return cls(target, did, before)

    def undo(self) -> None:
        if self.did == "replaced":
            shutil.copyfile(self.before, self.target)
        elif self.did == "added":
            self.target.unlink()


def _index(blueprint: Blueprint, specialist: str, copies: Mapping[str, _Copy]) -> dict[str, str]:
    """Build the team, and undo the copies that cannot be read: name to reason."""
    try:
        report = _build(blueprint, specialist)
    except KnowledgeError:  # Of all documents, these included, none can be read.
        for copy in copies.values():
            copy.undo()
        _build(blueprint, specialist)
        raise
    bases = blueprint.root.resolve(), documents_folder(blueprint, specialist).resolve()
    refused = {}
    for name, copy in copies.items():
        target = copy.target.resolve()
        source = target.relative_to(next(base for base in bases if target.is_relative_to(base))).as_posix()
        if source in report.skipped:
            refused[name] = report.skipped[source]
            copy.undo()
    if any(copies[name].did for name in refused):
        report = replace(report, passages=_build(blueprint, specialist).passages)
    _show(specialist, report)
    return refused


@app.command("list")
def list_documents(specialist: SpecialistName, team: TeamFolder = Path(), json: AsJson = False) -> None:
    """The documents in the specialist's index."""
    blueprint = _blueprint(team, specialist)
    documents = _open(blueprint, specialist).documents()
    if json:
        print_json(documents)
        return
    table = Table("document", "title", "passages", "characters", box=None)
    for document in documents:
        row = (document.source, document.title, f"{document.passages}", f"{document.characters}")
        table.add_row(*map(escape, row))
    Console().print(table)


@app.command()
def search(
    specialist: SpecialistName,
    query: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="How many passages.")] = 3,
    team: TeamFolder = Path(),
    json: AsJson = False,
) -> None:
    """The passages that a specialist would read for a question."""
    blueprint = _blueprint(team, specialist)
    passages = _open(blueprint, specialist).search(query, k)
    if json:
        print_json(passages)
        return
    console = Console()
    for passage in passages:
        read = f" {passage.signals['rerank']:.2f}" if "rerank" in passage.signals else ""
        console.print(f"[bold]{passage.score:.2f}[/]{read} [cyan]{escape(place(passage))}[/]", highlight=False)
        console.print(f"     {escape(shorten(passage.text))}", highlight=False)
    if not passages:
        console.print("nothing found")


@app.command()
def remove(
    specialist: SpecialistName,
    documents: Annotated[list[str], typer.Argument(help="Names as `list` shows them.", show_default=False)],
    yes: Yes = False,
    team: TeamFolder = Path(),
) -> None:
    """Delete documents of a specialist, from its folder and from the index."""
    blueprint = _blueprint(team, specialist)
    paths = [document_file(blueprint, specialist, name) for name in documents]
    if not yes:
        typer.confirm(f"Delete {', '.join(documents)} for good?", abort=True)
    for path in paths:
        path.unlink()
    _show(specialist, _build(blueprint, specialist))


def _blueprint(team: Path, specialist: str) -> Blueprint:
    blueprint = blueprint_of(team, specialist)
    if blueprint.specialists[specialist].knowledge is None:
        raise ConfigError(
            f"'{specialist}' has no documents",
            file=blueprint.folders[specialist] / "specialist.yaml",
            hint="add to it: knowledge: {sources: [documents]}",
        )
    return blueprint


def documents_folder(blueprint: Blueprint, specialist: str) -> Path:
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


def document_file(blueprint: Blueprint, specialist: str, name: str) -> Path:
    """The file of a document, by its name in the index or below the documents' folder."""
    base = blueprint.folders[specialist].resolve()
    known = [document.source for document in _open(blueprint, specialist).documents()]
    for path in (base / name, documents_folder(blueprint, specialist) / name):
        if path.is_file() and path.resolve().is_relative_to(base):
            return path
    shown_by = command_line("knowledge", "list", specialist, team=blueprint.root)
    raise InputError(unknown("document", name, known), hint=shown_by)


def _open(blueprint: Blueprint, specialist: str) -> Knowledge:
    from ..agents.assemble import open_knowledge
    from ..core.models import ModelStore
    from ..core.onnx_embedder import load_embedder

    return open_knowledge(blueprint, specialist, load_embedder(blueprint.card.embedder, ModelStore()))


def _build(blueprint: Blueprint, specialist: str) -> IndexReport:
    """Build the team, which does again only what changed; what happened to the specialist's documents."""
    from ..agents.build import build

    with progress_bars(Console(stderr=True)) as progress:
        return build(blueprint, progress=progress).knowledge[specialist]


def _show(specialist: str, report: IndexReport) -> None:
    changes = {"added": report.added, "changed": report.changed, "removed": report.removed}
    done = ", ".join(f"{len(names)} {word}" for word, names in changes.items() if names) or "nothing changed"
    Console().print(f"{specialist}: {done}; {report.passages} passages", highlight=False)
