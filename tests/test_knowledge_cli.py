"""`metier knowledge` on a real team: what a user types, what they see, and what is on the disk afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from metier.agents.build import build, changed_since_build
from metier.agents.cards import Blueprint
from metier.serving.project import init_team
from metier.tests.conftest import Run
from metier.tests.office import init_tiny


@pytest.fixture(scope="module")
def team(tmp_path_factory, models) -> Path:
    folder = tmp_path_factory.mktemp("team")
    init_tiny(folder)
    build(Blueprint.read(folder))
    return folder


@pytest.fixture
def done(run: Run) -> Callable[..., str]:
    """What a command on a team printed; it went well."""

    def call(team: Path, *words: object, stdin: str | None = None) -> str:
        ran = run("knowledge", *words, "--team", team, stdin=stdin)
        assert ran.code == 0, ran.err
        return ran.out

    return call


def listed(done: Callable[..., str], team: Path) -> set[str]:
    return {document["source"] for document in json.loads(done(team, "list", "helpdesk", "--json"))}


def test_add_search_and_remove(run, done, team, tmp_path):
    file = tmp_path / "kettle.md"
    file.write_text("# Kitchen\n\nThe kettle stands in room 12.\n")
    (tmp_path / "scan.pdf").write_text("not a pdf")
    before = listed(done, team)

    added = done(team, "add", "helpdesk", str(tmp_path))
    assert "added kettle.md" in added
    assert "skipped scan.pdf" in added
    assert listed(done, team) - before == {"helpdesk/documents/kettle.md"}

    passage = json.loads(done(team, "search", "helpdesk", "where is the kettle?", "-k", "1", "--json"))[0]
    assert passage["text"] == "The kettle stands in room 12."
    assert passage["heading"] == ["Kitchen"]
    assert "kettle.md › Kitchen" in done(team, "search", "helpdesk", "kettle")

    file.write_text("The kettle moved to room 14.\n")
    assert "replaced kettle.md" in done(team, "add", "helpdesk", str(file))
    assert "room 14" in done(team, "search", "helpdesk", "kettle")

    assert run("knowledge", "remove", "helpdesk", "kettle.md", "-t", team, stdin="n\n").code == 1
    assert (team / "helpdesk/documents/kettle.md").exists()
    done(team, "remove", "helpdesk", "kettle.md", stdin="y\n")
    assert listed(done, team) == before
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


def test_a_document_is_read_once_and_taken_out_again_when_it_cannot_be(run, done, tmp_path, models):
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
    ran = run("knowledge", "add", "helpdesk", given / "kettle.lines", "-t", team)
    assert ran.code == 1
    assert "nothing to add: kettle.lines: LineReader cannot read it" in ran.err
    assert "room 12" in (team / "helpdesk/documents/kettle.lines").read_text()
    assert "room 12" in done(team, "search", "helpdesk", "kettle")
    assert changed_since_build(Blueprint.read(team)) == []


def test_a_document_that_is_the_only_one_and_cannot_be_read(run, tmp_path, models):
    init_team(tmp_path / "team")
    documents = tmp_path / "team/helpdesk/documents"
    for file in documents.iterdir():
        file.unlink()
    (tmp_path / "scan.pdf").write_text("not a pdf")
    ran = run("knowledge", "add", "helpdesk", tmp_path / "scan.pdf", "-t", tmp_path / "team")
    assert ran.code == 1
    assert "none of the 1 documents can be read: helpdesk/documents/scan.pdf" in ran.err
    assert list(documents.iterdir()) == []


def test_list_for_people(done, team):
    shown = done(team, "list", "helpdesk")
    assert "network.md" in shown
    assert "passages" in shown


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("search", "nobody", "x"), 2, "available: helpdesk, travel"),
        (("remove", "helpdesk", "nope.md", "-y"), 2, "unknown document"),
        (("remove", "helpdesk", "../travel/specialist.yaml", "-y"), 2, "unknown document"),
        (("add", "helpdesk", "nowhere.md"), 1, "no such document"),
    ],
)
def test_mistakes_are_named(run, team, words, code, message):
    ran = run("knowledge", *words, "-t", team)
    assert ran.code == code
    assert message in ran.err
    assert (team / "travel/specialist.yaml").exists()


def test_a_folder_without_a_team(run, tmp_path):
    ran = run("knowledge", "list", "helpdesk", "-t", tmp_path)
    assert ran.code == 2
    assert "no team here" in ran.err


def test_search_of_a_team_that_was_never_built(run, tmp_path, models):
    init_team(tmp_path / "fresh")
    ran = run("knowledge", "search", "helpdesk", "printer", "-t", tmp_path / "fresh")
    assert ran.code == 1
    assert "metier build" in ran.err
