"""The team that `metier init` writes, on the tiny base and in its style, `quote`: tests ask it many questions."""

from __future__ import annotations

from pathlib import Path

from metier.agents.cards import TeamCard
from metier.serving.project import init_team

TINY = "smollm2-135m"


def init_tiny(folder: Path) -> None:
    """`metier init folder`, with the base of `TINY`, which has no skill for the style `answer`."""
    init_team(folder)
    card = folder / "team.yaml"
    text = card.read_text()
    default = f"#base: {TeamCard.model_fields['base'].default}"
    assert default in text
    card.write_text(text.replace(default, f"base: {TINY}"))
    for specialist in folder.glob("*/specialist.yaml"):
        specialist.write_text(specialist.read_text().replace("style: answer", "style: quote"))
