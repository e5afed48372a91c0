"""`docs/scale.md`: its configuration is read as a team's would be, and its arithmetic computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from metier.agents.cards import TeamCard
from metier.specialists.card import SpecialistCard

PAGE = (Path(__file__).parent.parent / "docs" / "scale.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_the_configuration_is_understood(text):
    given: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    file = text.splitlines()[0].removeprefix("# ")
    if file == "team.yaml":
        card = TeamCard.model_validate({"name": "team", "specialists": ["one"], **given})
    else:
        card = SpecialistCard.model_validate({"name": "one", "description": "Knows the plant.", **given})
    shown = card.model_dump(exclude_unset=True)
    assert shown.keys() >= given.keys()


def test_the_arithmetic_is_right():
    (text,) = blocks("python")
    values: dict[str, float] = {}
    exec(text, values)
    claimed = dict(re.findall(r"^(\w+) = .*[^ ] +# ([\d.]+)$", text, re.MULTILINE))
    assert len(claimed) == 8
    for name, said in claimed.items():
        digits = len(said.partition(".")[2])
        assert round(values[name], digits) == float(said), name
