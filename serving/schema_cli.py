"""`metier schema`: the JSON Schema of the cards, for editors and for programs that write cards."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from ..agents.card import TeamCard
from ..specialists.card import SpecialistCard

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
