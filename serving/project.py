"""A team's folder: `metier init` writes a small one to start from, `metier schema` and `metier graph` describe it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
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


def init(folder: Annotated[Path, typer.Argument(help="A new or empty folder.", show_default=False)]) -> None:
    """Write a small team to start from: two specialists with documents, examples and questions."""
    written = [path.relative_to(folder) for path in init_team(folder)]
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"A team of two specialists is in {folder}:")
    console.print("".join(f"  {path}\n" for path in written if not path.name.endswith(".schema.json")))
    steps = _next_steps(folder)
    width = max(len(command) for command, what in steps if what)
    console.print("Next:\n" + "\n".join(f"  {command:<{width}}  {what}".rstrip() for command, what in steps))


def init_team(folder: Path) -> list[Path]:
    """Write a team of two specialists into `folder`, which is new or empty; returns the files, sorted.

    The schemas of the cards are written beside it (`.schema/`), so that editors help offline too.
    Either all files are there in the end or none.

    Raises:
        InputError: The folder holds something, is a file, or cannot be written to.
    """
    _must_be_free(folder)
    contents = {path: source.read_bytes() for path, source in _template(files(__package__ or "") / "templates/team")}
    contents |= {f".schema/{card}.schema.json": schema_text(card).encode() for card in get_args(Card)}
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


def _next_steps(folder: Path) -> list[tuple[str, str]]:
    from .doctor import default_models

    needed = default_models()
    return [
        (command_line("models", "pull", *needed), "once for this machine"),
        (command_line("build", team=folder), "reads the documents, fits the router"),
        (f'{command_line("ask", team=folder)} "{FIRST_QUESTION}"', ""),
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
