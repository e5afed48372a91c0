"""The team that `metier init` writes, on the tiny base: tests ask it many questions, and need no better answers."""

from __future__ import annotations

from pathlib import Path

from metier.agents.cards import TeamCard
from metier.serving.project import init_team

TINY = "smollm2-135m"


def init_tiny(folder: Path) -> None:
    """`metier init folder`, with the base of `TINY`."""
    init_team(folder)
    card = folder / "team.yaml"
    text = card.read_text()
    default = f"#base: {TeamCard.model_fields['base'].default}"
    assert default in text
    card.write_text(text.replace(default, f"base: {TINY}"))
