"""The command line as a user meets it: output, exit codes, and words instead of tracebacks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from metier import __version__
from metier.serving.project import init_team
from metier.tests.office import init_tiny


@pytest.fixture(scope="module")
def office(tmp_path_factory, models) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "office"
    init_tiny(folder)
    return folder


def test_help_names_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    for command in ("init", "build", "ask", "chat", "route", "graph", "models", "knowledge", "doctor", "schema"):
        assert command in out


def test_the_version(run):
    assert run("--version")[:2] == (0, f"metier {__version__}\n")


def test_the_first_ask_builds_and_answers_as_json(run, office):
    code, out, _ = run("ask", "-t", office, "--json", "--specialist", "helpdesk", "Which network do guests use?")
    answer = json.loads(out)
    assert answer["specialist"] == "helpdesk"
    assert code == (0 if answer["kind"] == "answer" else 5)


def test_what_nobody_knows_has_its_own_exit_code(run, office):
    code, out, _ = run("ask", "-t", office, "Who won the football world cup in 1974?")
    assert code == 5
    assert "Nobody" in out or "do not know" in out or "not sure" in out


def test_a_task_from_standard_input(run, office):
    code, out, _ = run("ask", "-t", office, "--json", stdin=b"Who won the football world cup in 1974?\n")
    assert code == 5
    assert json.loads(out)["kind"] == "abstain"


@pytest.mark.parametrize(
    ("stdin", "says"), [(b"", "there is no task"), (b"  \n", "there is no task"), (b"\xff\xfe\x00PK\x03", "not text")]
)
def test_bad_standard_input(run, office, stdin, says):
    code, _, err = run("ask", "-t", office, "-", stdin=stdin)
    assert code == 2
    assert says in err
    assert "Traceback" not in err


def test_building_again_says_that_nothing_changed(run, office):
    code, out, _ = run("build", "-t", office)
    assert code == 0
    assert "nothing changed" in out
    assert "metier ask" in out


def test_a_team_that_is_not_there(run, tmp_path):
    code, _, err = run("ask", "-t", tmp_path / "none", "hello")
    assert code == 2
    assert "metier init" in err


def test_a_wrong_card_names_file_and_line(run, tmp_path):
    init_team(tmp_path / "office")
    card = tmp_path / "office" / "helpdesk" / "specialist.yaml"
    card.write_text(re.sub("(?m)^style: .*", "stile: quote", card.read_text()))
    line = card.read_text().splitlines().index("stile: quote") + 1
    code, _, err = run("build", "-t", tmp_path / "office")
    assert code == 2
    assert f"specialist.yaml:{line}" in err.replace("\n", "")


def test_an_unknown_style_names_what_there_is(run, tmp_path):
    init_team(tmp_path / "office")
    card = tmp_path / "office" / "helpdesk" / "specialist.yaml"
    card.write_text(re.sub("(?m)^style: .*", "style: qoute", card.read_text()))
    code, _, err = run("build", "-t", tmp_path / "office")
    assert code == 2
    assert "did you mean 'quote'" in err
    line = next(n for n, text in enumerate(card.read_text().splitlines(), 1) if text.startswith("style:"))
    assert f"specialist.yaml:{line}: style: unknown style 'qoute'" in " ".join(err.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_and_names(office, shell):
    command = [sys.executable, "-c", "from metier.__main__ import main; main()"]
    told = {"bash": ("metier as", 1), "zsh": ("metier as", 1), "fish": ("metier as", 1)}[shell]
    there = {**os.environ, "_METIER_COMPLETE": f"complete_{shell}", "COMP_WORDS": told[0], "COMP_CWORD": str(told[1])}
    there |= {"_TYPER_COMPLETE_ARGS": told[0], "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "ask" in subprocess.run(command, env=there, capture_output=True, text=True, check=False).stdout
    words = f"metier ask -t {office} -s h"
    there |= {"COMP_WORDS": words, "COMP_CWORD": "5", "_TYPER_COMPLETE_ARGS": words}
    assert "helpdesk" in subprocess.run(command, env=there, capture_output=True, text=True, check=False).stdout


def test_a_pipe_gets_no_colour_and_no_escape(office, tmp_path):
    command = [sys.executable, "-m", "metier", "ask", "-t", str(office), "Who won the football world cup in 1974?"]
    there = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    ran = subprocess.run(command, env=there, capture_output=True, check=False)
    assert ran.returncode == 5
    assert b"\x1b" not in ran.stdout + ran.stderr
    assert ran.stdout.decode("ascii")


def test_an_unknown_specialist_names_what_there_is(run, office):
    code, _, err = run("ask", "-t", office, "--specialist", "helpdsk", "hello there")
    assert code == 2
    assert "did you mean 'helpdesk'" in err


def test_a_model_that_is_not_here_says_how_to_get_it(run, office, tmp_path, monkeypatch):
    monkeypatch.setenv("METIER_HOME", str(tmp_path))
    code, _, err = run("ask", "-t", office, "hello there")
    assert code == 3
    assert "metier models pull" in err


def test_the_graph_as_mermaid_and_as_a_picture(run, office, tmp_path):
    code, out, _ = run("graph", "-t", office)
    assert code == 0
    assert out.startswith("flowchart LR")
    assert "travel([travel])" in out
    code, _, _ = run("graph", "-t", office, "--png", tmp_path / "graph.png")
    assert code == 0
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_a_terminal_without_our_characters_gets_plain_ones(tmp_path):
    command = [sys.executable, "-m", "metier", "models", "list"]
    there = {**os.environ, "PYTHONIOENCODING": "ascii", "METIER_HOME": str(tmp_path)}
    plain = subprocess.run(command, env=there, capture_output=True, check=True).stdout.decode("ascii")
    assert "o minilm" in plain
    assert "  -  metier models show" in plain
    command = [sys.executable, "-c", "from metier.serving.options import print_json; print_json(['› “é”'])"]
    printed = subprocess.run(command, env=there, capture_output=True, check=True).stdout.decode("ascii")
    assert json.loads(printed) == ["› “é”"]
