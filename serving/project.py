"""`metier init`: a small team to start from, with every setting explained in its cards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from ..agents.cards import TeamCard
from ..core.errors import InputError
from ..core.files import write_atomic
from ..specialists.card import SpecialistCard
from .ask import TeamFolder

# `metier schema`: the JSON Schema of the cards, for editors and for programs that write cards.


Card = Literal["team", "specialist"]
"""The cards that have a schema; `team.yaml` and `specialist.yaml` are their files."""


def card_schema(card: Card) -> dict[str, Any]:
    """JSON Schema (2020-12) of a card, with the meaning of every field."""
    model = TeamCard if card == "team" else SpecialistCard
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}


def schema_text(card: Card) -> str:
    """The schema as it is printed and as it stands in docs/schema."""
    return json.dumps(card_schema(card), indent=2, ensure_ascii=False) + "\n"


def schema(card: Annotated[Card, typer.Argument(help="Which card.")]) -> None:
    """Print the JSON Schema of team.yaml or specialist.yaml."""
    typer.echo(schema_text(card), nl=False)


FIRST_QUESTION = "After how many hours does the VPN disconnect?"


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


def init(folder: Annotated[Path, typer.Argument(help="A new or empty folder.", show_default=False)]) -> None:
    """Write a small team to start from: two specialists with documents, examples and questions."""
    shown = [path.relative_to(folder) for path in init_team(folder)]
    typer.echo(f"A team of two specialists is in {folder}:")
    typer.echo("".join(f"  {path}\n" for path in shown if not path.name.endswith(".schema.json")))
    steps = _next_steps(folder)
    width = max(len(command) for command, what in steps if what)
    typer.echo("Next:\n" + "\n".join(f"  {command:<{width}}  {what}".rstrip() for command, what in steps))


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
    needed = " ".join(TeamCard.model_fields[name].default for name in ("base", "embedder"))
    return [
        (f"metier models pull {needed}", "once for this machine"),
        (f"metier build -t {folder}", "reads the documents, fits the router"),
        (f'metier ask -t {folder} "{FIRST_QUESTION}"', ""),
        (f"metier doctor -t {folder}", "when something does not work"),
    ]


# `metier graph`.


def graph(
    team: TeamFolder = Path(),
    png: Annotated[Path | None, typer.Option(help="Draw into this PNG file (needs the extra 'plot').")] = None,
) -> None:
    """Show the team's graph: Mermaid text, or a picture drawn on this machine."""
    from ..agents.cards import Blueprint
    from ..agents.drawing import mermaid, picture

    blueprint = Blueprint.read(team)
    if png is None:
        print(mermaid(blueprint))
        return
    picture(blueprint, png)
    print(f"{png} written")
