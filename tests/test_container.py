# pyright: reportAttributeAccessIssue=false, reportOptionalSubscript=false
"""The container files, as far as they can be looked at without Docker: what they name exists, and can be run."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest
import yaml
from typer.main import get_command

from metier.core.models.catalogue import read_catalogue
from metier.memory.open import open_checkpoints
from metier.serving.cli import app
from metier.tests.house import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE_TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lines(word):
    """What follows a Dockerfile's instruction, each time it is used."""
    return re.findall(rf"^{word} (.*)$", DOCKERFILE, flags=re.MULTILINE)


def said():
    """Every `metier` command that is run or advised, as words."""
    (start,) = lines("CMD")
    yield json.loads(start)
    yield COMPOSE["services"]["metier"]["command"]
    for line in re.findall(r"docker compose run --rm metier (.*?)(?:#|$)", COMPOSE_TEXT, flags=re.MULTILINE):
        yield shlex.split(line)


def check(words):
    """Is there such a command, and does it take these options?"""
    command = get_command(app)
    while hasattr(command, "commands") and words:
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known, words


def test_the_image_is_made_of_what_there_is():
    (extras,) = re.findall(r"EXTRAS=(\S+)", DOCKERFILE)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert "serve" in extras.split(",")
    assert re.search(r"--constraint (\S+)", DOCKERFILE)[1] == "constraints.txt"
    assert (ROOT / "constraints.txt").is_file()
    images = {image.split()[0] for image in lines("FROM")}
    assert images == {"python:3.12-slim"}
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "**/.metier"} <= set(ignored), "neither history nor anybody's conversations go in"
    assert not {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "serving"} & set(ignored)
    assert lines("ENTRYPOINT") == ['["metier"]']
    assert PROJECT["scripts"]["metier"]
    assert lines("USER") == ["1000:1000"], "not as root"


def test_commands_and_models_that_are_named_exist(tmp_path):
    commands = list(said())
    assert len(commands) >= 4
    for words in commands:
        check(words)
    (pulled,) = [words[2:] for words in commands if words[:2] == ["models", "pull"]]
    assert set(pulled) <= set(read_catalogue(tmp_path))


def test_docker_asks_for_the_health_at_the_port_that_is_served():
    (asked,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", DOCKERFILE)
    port = next(p for p in get_command(app).commands["serve"].params if p.name == "port")
    assert asked == (str(port.default), "/health")
    assert lines("EXPOSE") == [asked[0]]
    assert all(port in COMPOSE["services"]["metier"]["ports"][0] for port in asked[:1])


def test_services_fit_together():
    services = COMPOSE["services"]
    volumes = [v for service in services.values() for v in service.get("volumes", [])]
    named = {source for v in volumes if re.fullmatch(r"\w+", source := v.rpartition(":")[0])}
    assert named == set(COMPOSE["volumes"])
    alone = [name for name, service in services.items() if "profiles" not in service]
    assert alone == ["metier"], "the team works without the stores"
    for name, needed in services["metier"]["depends_on"].items():
        assert name in services
        assert needed["required"] is False
    assert services["postgres"]["healthcheck"]["test"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), "on this machine only"
    environment = services["metier"]["environment"]
    assert environment["THREADS"] == "${THREADS:-sqlite}"
    assert int(services["metier"]["stop_grace_period"].removesuffix("s")) > 30 + 10, "longer than it drains"


@pytest.mark.parametrize("kept", ["sqlite", "none"])
def test_where_threads_are_may_stand_in_a_variable(kept, monkeypatch, tmp_path):
    """As `THREADS: ${THREADS:-sqlite}` does; PostgreSQL's own tests give its address so."""
    monkeypatch.setenv("THREADS", kept)
    saver = open_checkpoints("env:THREADS", tmp_path)
    assert (saver is None) == (kept == "none")
    assert (tmp_path / "threads.sqlite").exists() == (kept == "sqlite")
    if saver:
        saver.close()
