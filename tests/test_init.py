"""`metier init` and `metier schema`: the first team is right, complete, explained, and never written over anything."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from metier.agents.build import build
from metier.agents.cards import Blueprint, TeamCard
from metier.agents.team import Team
from metier.core.errors import InputError
from metier.core.files import read_jsonl
from metier.core.models import ModelStore
from metier.core.yaml import load_yaml
from metier.serving.project import FIRST_QUESTION, Card, init_team, schema_text
from metier.specialists.card import SpecialistCard
from metier.tests.conftest import Run

ROOT = Path(__file__).parent.parent


@pytest.fixture
def team(tmp_path: Path) -> Path:
    init_team(tmp_path / "office")
    return tmp_path / "office"


def test_the_cards_fit_together_and_their_files_are_there(team: Path) -> None:
    blueprint = Blueprint.read(team)
    assert list(blueprint.specialists) == ["travel", "helpdesk"]
    assert len(blueprint.outside()) >= 10
    for name, card in blueprint.specialists.items():
        assert len(blueprint.tasks(name)) >= 10
        assert card.knowledge
        assert card.evaluation
        assert all((blueprint.folders[name] / source).is_dir() for source in card.knowledge.sources)


def test_every_reference_answer_stands_in_a_document(team: Path) -> None:
    for specialist in ("travel", "helpdesk"):
        text = " ".join(" ".join(f.read_text().split()) for f in sorted((team / specialist / "documents").iterdir()))
        rows = [*read_jsonl(team / specialist / "examples.jsonl"), *read_jsonl(team / specialist / "questions.jsonl")]
        assert [row["answer"] for row in rows if row["answer"] not in text] == []


def test_the_new_team_answers_its_first_question(models: ModelStore, team: Path) -> None:
    blueprint = Blueprint.read(team)
    build(blueprint, store=models)
    with Team.load(blueprint, store=models) as opened:
        answer = opened.ask(FIRST_QUESTION)
    assert (answer.kind, answer.specialist) == ("answer", "helpdesk")
    assert "eight hours" in answer.text
    assert [c.source for c in answer.citations] == ["helpdesk/documents/network.md"]


def test_questions_for_measuring_are_not_examples(team: Path) -> None:
    for specialist in ("travel", "helpdesk"):
        questions = {row["input"] for row in read_jsonl(team / specialist / "questions.jsonl")}
        assert questions.isdisjoint(row["input"] for row in read_jsonl(team / specialist / "examples.jsonl"))


@pytest.mark.parametrize(("file", "card"), [("team.yaml", TeamCard), ("travel/specialist.yaml", SpecialistCard)])
def test_settings_that_are_commented_out_show_the_defaults(team: Path, file: str, card: type[BaseModel]) -> None:
    path = team / file
    given = load_yaml(path, card)
    text = path.read_text()
    path.write_text(re.sub(r"^( *)#(?! \S|$)", r"\1", text, flags=re.MULTILINE))
    assert path.read_text() != text
    assert load_yaml(path, card) == given


@pytest.mark.parametrize(("file", "card"), [("team.yaml", TeamCard), ("travel/specialist.yaml", SpecialistCard)])
def test_every_field_is_in_the_template_and_explained(team: Path, file: str, card: type[BaseModel]) -> None:
    lines = (team / file).read_text().splitlines()
    above = {m[1]: lines[i - 1] for i, line in enumerate(lines) if (m := re.match(r"[ #-]*([a-z_]+):", line))}
    missing = [name for name in _fields(card) if name not in above]
    assert missing == []
    # `to` is explained above the list that holds it.
    unexplained = [name for name, line in above.items() if not re.match(r" *# \S", line) and name != "to"]
    assert unexplained == []


def test_every_style_is_told(team: Path) -> None:
    text = (team / "travel" / "specialist.yaml").read_text()
    styles = re.findall(r"`(\w+)`", SpecialistCard.model_fields["style"].description or "")
    assert "quote" in styles
    assert [style for style in styles if f" {style}: " not in text] == []


def _fields(card: type[BaseModel]) -> set[str]:
    """Names of all fields, those of nested cards too, but for the optional `when` that is told in words."""
    nested = [a for f in card.model_fields.values() for a in (f.annotation, *get_args(f.annotation))]
    inner = [_fields(a) for a in nested if isinstance(a, type) and issubclass(a, BaseModel)]
    return set(card.model_fields).union(*inner) - {"when"}


def test_a_folder_with_anything_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"it holds team\.yaml") as caught:
        init_team(tmp_path)
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["team.yaml"]
    assert (tmp_path / "team.yaml").read_text() == "mine"


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "office").write_text("")
    with pytest.raises(InputError, match="is a file"):
        init_team(tmp_path / "office")
    with pytest.raises(InputError, match="cannot be written to"):
        init_team(tmp_path / "office" / "below")


def test_a_fresh_git_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert tmp_path / "team.yaml" in init_team(tmp_path)


def test_the_command_names_the_files_and_the_next_steps(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("init", tmp_path / "our office")
    assert code == 0
    assert "travel/specialist.yaml" in out
    assert "metier models pull qwen2.5-coder-0.5b multilingual-e5-small minilm" in out
    (build,) = [line for line in out.splitlines() if line.startswith("  metier build")]
    words = shlex.split(build)[:4]
    assert words == ["metier", "build", "-t", str(tmp_path / "our office")], "can be copied into a shell"


def test_the_command_says_why_it_refuses(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    code, _, err = run("init", tmp_path)
    assert code == InputError.exit_code
    assert "it holds notes.txt" in err


@pytest.mark.parametrize("card", get_args(Card))
def test_the_schema_files_are_those_of_the_classes(card: Card) -> None:
    file = ROOT / "docs" / "schema" / f"{card}.schema.json"
    assert file.read_text() == schema_text(card), f"metier schema {card} > docs/schema/{card}.schema.json"


def test_editors_find_the_schema_that_a_card_names(team: Path) -> None:
    for file in (team / "team.yaml", team / "travel" / "specialist.yaml", team / "helpdesk" / "specialist.yaml"):
        line = file.read_text().splitlines()[0]
        schema: dict[str, Any] = json.loads((file.parent / line.partition("$schema=")[2]).read_text())
        assert schema["additionalProperties"] is False
        assert "description" in schema["properties"]["style" if file.name == "specialist.yaml" else "base"]
