"""`metier knowledge`: the documents of a specialist."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import ConfigError, InputError, KnowledgeError, unknown
from .options import TeamFolder

if TYPE_CHECKING:
    from ..agents.cards import Blueprint
    from ..specialists.knowledge.build import IndexReport
    from ..specialists.knowledge.knowledge import Knowledge

app = typer.Typer(help="The documents of a specialist: add, list, search, remove.", no_args_is_help=True)

_Specialist = Annotated[str, typer.Argument(metavar="SPECIALIST", help="Name of the specialist.", show_default=False)]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    specialist: _Specialist,
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
            name: _Copy.make(path, _folder(blueprint, specialist) / name, Path(kept, str(number)))
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
    bases = blueprint.root.resolve(), _folder(blueprint, specialist).resolve()
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
def list_documents(specialist: _Specialist, team: TeamFolder = Path(), json: _AsJson = False) -> None:
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
    specialist: _Specialist,
    query: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="How many passages.")] = 3,
    team: TeamFolder = Path(),
    json: _AsJson = False,
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
    specialist: _Specialist,
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
    _show(specialist, _build(blueprint, specialist))


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


def _build(blueprint: Blueprint, specialist: str) -> IndexReport:
    """Build the team, which does again only what changed; what happened to the specialist's documents."""
    from ..agents.build import build
    from .options import progress_bars

    with progress_bars(Console(stderr=True)) as progress:
        return build(blueprint, progress=progress).knowledge[specialist]


def _show(specialist: str, report: IndexReport) -> None:
    changes = {"added": report.added, "changed": report.changed, "removed": report.removed}
    done = ", ".join(f"{len(names)} {word}" for word, names in changes.items() if names) or "nothing changed"
    Console().print(f"{specialist}: {done}; {report.passages} passages", highlight=False)
