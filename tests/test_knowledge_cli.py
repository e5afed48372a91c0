"""`metier knowledge` on a real team: what a user types, what they see, and what is on the disk afterwards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from metier.agents.build import build, changed_since_build
from metier.agents.cards import Blueprint
from metier.core.errors import ConfigError, InputError, KnowledgeError
from metier.serving.knowledge import app
from metier.serving.project import init_team


@pytest.fixture(scope="module")
def team(tmp_path_factory, models) -> Path:
    folder = tmp_path_factory.mktemp("team")
    init_team(folder)
    build(Blueprint.read(folder))
    return folder


def run(team: Path, *words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, [*words, "--team", str(team)], input=answer)


def done(team: Path, *words: str, answer: str | None = None) -> str:
    result = run(team, *words, answer=answer)
    assert result.exit_code == 0, result.output
    return result.stdout


def listed(team: Path) -> set[str]:
    return {document["source"] for document in json.loads(done(team, "list", "helpdesk", "--json"))}


def test_add_search_and_remove(team, tmp_path):
    file = tmp_path / "kettle.md"
    file.write_text("# Kitchen\n\nThe kettle stands in room 12.\n")
    (tmp_path / "scan.pdf").write_text("not a pdf")
    before = listed(team)

    added = done(team, "add", "helpdesk", str(tmp_path))
    assert "added kettle.md" in added
    assert "skipped scan.pdf" in added
    assert listed(team) - before == {"helpdesk/documents/kettle.md"}

    passage = json.loads(done(team, "search", "helpdesk", "where is the kettle?", "-k", "1", "--json"))[0]
    assert passage["text"] == "The kettle stands in room 12."
    assert passage["heading"] == ["Kitchen"]
    assert "kettle.md › Kitchen" in done(team, "search", "helpdesk", "kettle")

    file.write_text("The kettle moved to room 14.\n")
    assert "replaced kettle.md" in done(team, "add", "helpdesk", str(file))
    assert "room 14" in done(team, "search", "helpdesk", "kettle")

    assert run(team, "remove", "helpdesk", "kettle.md", answer="n\n").exit_code == 1
    assert (team / "helpdesk/documents/kettle.md").exists()
    done(team, "remove", "helpdesk", "kettle.md", answer="y\n")
    assert listed(team) == before
    assert file.exists()


READER = """
from pathlib import Path

from llama_index.core import Document
from llama_index.core.readers.base import BaseReader


class LineReader(BaseReader):
    def load_data(self, file, extra_info=None):
        with Path(__file__).with_name("asked").open("a") as asked:
            print(file.name, file=asked)
        return [Document(text=file.read_text(encoding="ascii"))]
"""


def test_a_document_is_read_once_and_taken_out_again_when_it_cannot_be(tmp_path, models):
    team, given = tmp_path / "team", tmp_path / "given"
    init_team(team)
    card = team / "helpdesk/specialist.yaml"
    card.write_text(
        re.sub("knowledge:", "knowledge:\n  readers: {.lines: 'reads_lines:LineReader'}", card.read_text(), count=1)
    )
    (team / "reads_lines.py").write_text(READER)
    given.mkdir()
    (given / "kettle.lines").write_text("The kettle stands in room 12.")
    (given / "broken.lines").write_text("é")
    build(Blueprint.read(team))
    said = done(team, "add", "helpdesk", str(given))
    assert "added kettle.lines" in said
    assert "skipped broken.lines: LineReader cannot read it" in said
    assert sorted((team / "asked").read_text().split()) == ["broken.lines", "kettle.lines"]
    assert not (team / "helpdesk/documents/broken.lines").exists()

    (given / "kettle.lines").write_text("é")
    result = run(team, "add", "helpdesk", str(given / "kettle.lines"))
    assert isinstance(result.exception, KnowledgeError)
    assert "nothing to add: kettle.lines: LineReader cannot read it" in str(result.exception)
    assert "room 12" in (team / "helpdesk/documents/kettle.lines").read_text()
    assert "room 12" in done(team, "search", "helpdesk", "kettle")
    assert changed_since_build(Blueprint.read(team)) == []


def test_a_document_that_is_the_only_one_and_cannot_be_read(tmp_path, models):
    init_team(tmp_path / "team")
    documents = tmp_path / "team/helpdesk/documents"
    for file in documents.iterdir():
        file.unlink()
    (tmp_path / "scan.pdf").write_text("not a pdf")
    result = run(tmp_path / "team", "add", "helpdesk", str(tmp_path / "scan.pdf"))
    assert isinstance(result.exception, KnowledgeError)
    assert "none of the 1 documents can be read: helpdesk/documents/scan.pdf" in str(result.exception)
    assert list(documents.iterdir()) == []


def test_list_for_people(team):
    shown = done(team, "list", "helpdesk")
    assert "network.md" in shown
    assert "passages" in shown


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (("search", "nobody", "x"), InputError, "available: helpdesk, travel"),
        (("remove", "helpdesk", "nope.md", "-y"), InputError, "unknown document"),
        (("remove", "helpdesk", "../travel/specialist.yaml", "-y"), InputError, "unknown document"),
        (("add", "helpdesk", "nowhere.md"), KnowledgeError, "no such document"),
        (("list", "helpdesk"), ConfigError, "no team here"),
    ],
)
def test_mistakes_are_named(team, tmp_path, words, error, said):
    where = tmp_path if error is ConfigError else team
    result = run(where, *words)
    assert isinstance(result.exception, error)
    assert said in str(result.exception)
    assert (team / "travel/specialist.yaml").exists()


def test_search_of_a_team_that_was_never_built(tmp_path, models):
    init_team(tmp_path / "fresh")
    result = run(tmp_path / "fresh", "search", "helpdesk", "printer")
    assert isinstance(result.exception, KnowledgeError)
    assert result.exception.hint == "metier build"
