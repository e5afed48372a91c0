"""A team's folder: `metier init` writes a small one to start from, `metier schema` and `metier graph` describe it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal, get_args

import typer
from rich.console import Console

from ..core.errors import InputError
from ..core.files import write_atomic
from .options import TeamFolder, blueprint_of, command_line

Card = Literal["team", "specialist"]
"""The cards that have a schema; `team.yaml` and `specialist.yaml` are their files."""

FIRST_QUESTION = "After how many hours does the VPN disconnect?"
"""What the documents of the written team answer."""


Template = Literal["office", "plant", "clinic", "bank", "act"]
"""What a new team can be made from."""

_EXAMPLES: dict[str, tuple[str, str]] = {
    "plant": ("plant", "what torque do the valve body bolts of FL-2 need?"),
    "clinic": ("clinic", "how many hours before a blood test may I not eat?"),
    "bank": ("bank", "what does it cost to withdraw cash abroad?"),
    "act": ("workshop", "how many V-belts are in the store?"),
}
"""Template to its folder among the examples, and a question that it answers."""
_PARTS = (
    "team.yaml",
    "outside.jsonl",
    "README.md",
    "*_tools.py",
    "store/*.csv",
    "*/*.yaml",
    "*/*.jsonl",
    "*/documents/*",
)
"""What a team of the examples needs; the wheel holds the same (`package-data` in pyproject.toml)."""


def init(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.", show_default=False)],
    template: Annotated[
        Template,
        typer.Option("--from", help="office: explains every setting; act: orders, sorts and reads; or another field."),
    ] = "office",
) -> None:
    """Write a small team to start from: specialists with documents, examples and questions."""
    written = [path.relative_to(folder) for path in init_team(folder, template)]
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"A team of {sum(path.name == 'specialist.yaml' for path in written)} specialists is in {folder}:")
    console.print("".join(f"  {path}\n" for path in written if not path.name.endswith(".schema.json")))
    steps = _next_steps(folder, _EXAMPLES[template][1] if template in _EXAMPLES else FIRST_QUESTION)
    if any(path.parts[0] == "workflows" for path in written):
        steps.insert(-1, (command_line("workflow", "list", team=folder), "tasks with several steps, for metier run"))
    width = max(len(command) for command, what in steps if what)
    console.print("Next:\n" + "\n".join(f"  {command:<{width}}  {what}".rstrip() for command, what in steps))


def init_team(folder: Path, template: Template = "office") -> list[Path]:
    """Write a team into `folder`, which is new or empty; returns the files, sorted.

    With `office`, the schemas of the cards are written beside it (`.schema/`), so that editors help offline too.
    Either all files are there in the end or none.

    Raises:
        InputError: The folder holds something, is a file, or cannot be written to.
    """
    _must_be_free(folder)
    contents = _office() if template == "office" else _example(_EXAMPLES[template][0], folder)
    written: list[Path] = []
    try:
        for name, data in sorted(contents.items()):
            write_atomic(folder / name, data)
            written.append(folder / name)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise InputError(f"{folder} cannot be written to: {error.strerror}") from error
    return written


def _office() -> dict[str, bytes]:
    contents = {path: source.read_bytes() for path, source in _template(files(__package__ or "") / "templates/team")}
    return contents | {f".schema/{card}.schema.json": schema_text(card).encode() for card in get_args(Card)}


def _example(name: str, folder: Path) -> dict[str, bytes]:
    """The files of an example by their paths; where they name its folder, they name the new one."""
    root = Path(__file__).parents[1] / "examples" / name
    contents = dict[str, bytes]()
    for path in (path for part in _PARTS for path in root.glob(part)):
        inside = path.relative_to(root)
        if path.is_file() and not inside.parts[0].startswith("."):
            data = path.read_bytes()
            named = path.suffix in (".md", ".yaml") and inside.parent.name != "documents"
            contents[inside.as_posix()] = (
                data.replace(f"examples/{name}".encode(), quote(str(folder)).encode()) if named else data
            )
    return contents


def _must_be_free(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file", hint="name a new or empty folder")
    there = sorted(path.name for path in folder.iterdir() if path.name != ".git")
    if there:
        more = f" and {len(there) - 5} more" if len(there) > 5 else ""
        raise InputError(
            f"{folder} is not empty; it holds {', '.join(there[:5])}{more}",
            hint="name a new or empty folder: metier init never writes over what is there",
        )


def _template(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """Relative path and file, for every file below `folder`."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _template(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry


def _next_steps(folder: Path, question: str) -> list[tuple[str, str]]:
    from .doctor import default_models

    needed = default_models()
    return [
        (command_line("models", "pull", *needed), "once for this machine"),
        (command_line("build", team=folder), "reads the documents, fits the router"),
        (f'{command_line("ask", team=folder)} "{question}"', ""),
        (command_line("doctor", team=folder), "when something does not work"),
    ]


def schema(card: Annotated[Card, typer.Argument(help="Which card.")]) -> None:
    """Print the JSON Schema of team.yaml or specialist.yaml."""
    typer.echo(schema_text(card), nl=False)


def schema_text(card: Card) -> str:
    """JSON Schema (2020-12) of a card, with the meaning of every field, as it also stands in docs/schema."""
    from ..agents.cards import TeamCard
    from ..specialists.card import SpecialistCard

    model = TeamCard if card == "team" else SpecialistCard
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def graph(
    team: TeamFolder = Path(),
    png: Annotated[Path | None, typer.Option(help="Draw into this PNG file (needs the extra 'plot').")] = None,
) -> None:
    """Show the team's graph: Mermaid text, or a picture drawn on this machine."""
    from ..agents.drawing import mermaid, picture

    blueprint = blueprint_of(team)
    if png is None:
        print(mermaid(blueprint))
        return
    picture(blueprint, png)
    print(f"{png} written")
