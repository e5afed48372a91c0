"""Names in cards that mean code: built-in ones, installed modules, and files beside the card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from metier.agents.cards import Blueprint, TeamCard
from metier.core.errors import ConfigError, MissingExtra
from metier.core.plugins import load
from metier.specialists.card import SpecialistCard
from metier.tools.registry import build_tools
from metier.tools.tool import ToolContext, effects_of

BUILT_IN = {"words": "metier.core.text:terms", "length": len}

TOOL = '''
"""Tools of a team."""

from metier import tool

from helper import FACTOR  # a neighbour, without a dot


@tool(effect="read", untrusted_output=False, sensitive=False)
def times(number: int) -> int:
    """A number, multiplied."""
    from .helper import FACTOR as again  # later, with one

    assert again == FACTOR
    return FACTOR * number
'''


def team(folder: Path, factor: int) -> Path:
    folder.mkdir()
    (folder / "my_tools.py").write_text(TOOL)
    (folder / "helper.py").write_text(f"FACTOR = {factor}")
    return folder


def test_built_in_names_and_modules() -> None:
    assert load("length", "thing", BUILT_IN) is len
    assert load("words", "thing", BUILT_IN)("Two pumps") == load("metier.core.text:terms", "thing")("Two pumps")
    assert load("collections:OrderedDict.fromkeys", "thing")("ab") == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        (
            "wrods",
            r"unknown thing 'wrods'; available: length, words \(did you mean 'words'\?\)",
            "your own: module:attr",
        ),
        (
            "no_such_module:x",
            "thing 'no_such_module:x' cannot be loaded: ModuleNotFoundError",
            "pip install no-such-mod",
        ),
        ("collections:OrderedDic", r"unknown name in collections 'OrderedDic'.*did you mean 'OrderedDict'", None),
        ("broken:x", "thing 'broken:x' cannot be loaded: ZeroDivisionError: division by zero", None),
        ("lacking:x", "thing 'lacking:x' cannot be loaded: ModuleNotFoundError: No module named 'no_such_thing'", None),
        *[(name, "unknown thing", "your own") for name in ("", ":x", "words:", ".relative:x")],
    ],
)
def test_errors_say_what_was_asked_and_how_to_mend_it(
    tmp_path: Path, name: str, message: str, hint: str | None
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "lacking.py").write_text("import no_such_thing")
    with pytest.raises(ConfigError, match=message) as caught:
        load(name, "thing", BUILT_IN, field="things", folders=[tmp_path])
    assert str(caught.value).startswith("things: ")
    assert (hint is None) == (caught.value.hint is None)
    assert (hint or "") in (caught.value.hint or "")


def test_a_missing_extra_stays_one(tmp_path: Path) -> None:
    (tmp_path / "needy.py").write_text("from metier.core.errors import MissingExtra as M\nraise M('plots', 'plot')")
    with pytest.raises(MissingExtra, match="plots is not installed"):
        load("needy:x", "thing", folders=[tmp_path])


def test_two_teams_have_modules_of_the_same_names(tmp_path: Path) -> None:
    paths = list(sys.path)
    one, two = team(tmp_path / "one", 2), team(tmp_path / "two", 3)
    card = one / "clerk"
    card.mkdir()
    [twice] = build_tools(["my_tools:times"], ToolContext(card, team=one))
    [thrice] = build_tools(["my_tools:times"], ToolContext(two))
    assert (twice.invoke({"number": 5}), thrice.invoke({"number": 5})) == (10, 15)
    assert effects_of(twice).effect == "read"
    assert sys.path == paths
    assert not {"helper", "my_tools"} & set(sys.modules)
    assert load("my_tools:times", "tool", folders=[two]) is load("my_tools:times", "tool", folders=[two])


def test_styles_lie_beside_the_card_or_the_team(tmp_path: Path) -> None:
    cards = [
        SpecialistCard(name=name, description="Answers in a style of its own.", style="my_style:answer")
        for name in ("one", "two")
    ]
    folders = [tmp_path / "one", tmp_path / "two"]
    for place in (tmp_path, folders[0]):
        place.mkdir(exist_ok=True)
        (place / "my_style.py").write_text(f"def answer(work): return {place.name!r}")
    plan = Blueprint.of(TeamCard(name="team", specialists=["one", "two"]), cards, tmp_path, folders)
    work: Any = None
    assert [plan.style(name).answer(work) for name in ("one", "two")] == ["one", tmp_path.name]
    with pytest.raises(ConfigError, match="style: style 'my_style:answer' cannot be loaded"):
        Blueprint.of(TeamCard(name="team", specialists=["one"]), cards[:1], tmp_path / "elsewhere")


def test_what_lies_beside_the_card_comes_before_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("def mix(): return 'mine'")
    assert load("colorsys:mix", "thing", folders=[tmp_path])() == "mine"
    with pytest.raises(ConfigError, match="unknown name in colorsys 'mix'"):
        load("colorsys:mix", "thing")
