"""What all tests share: the real small models, found where `metier models pull` puts them, and a team built of them."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from hypothesis import HealthCheck, settings

from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.team import Team
from metier.core.errors import ModelError
from metier.core.models import ModelStore
from metier.core.onnx_embedder import OnnxEmbedder, load_embedder
from metier.serving.cli import run_command
from metier.tests.desk import open_desk, served
from metier.tests.office import init_tiny
from metier.tests.patience import be_patient
from metier.tests.postgres import Postgres, installed
from metier.tests.shop import Open, open_shop
from metier.tests.tenants import House, open_house

# A busy machine is no finding: times are measured in benchmarks. The examples are the same in every run, so that no
# change is refused for what another one brought in; `--hypothesis-profile=search` looks for new ones.
usual = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", usual)
settings.register_profile("metier", usual, derandomize=True, database=None)
settings.load_profile("metier")
be_patient()


class Root:
    """The repository's root is the package `metier`, whatever the folder is called; pytest need not import it."""

    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        return pytest.Dir.from_parent(parent, path=path) if path == parent.config.rootpath else None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Root())


NEEDED = ("qwen2.5-coder-0.5b", "smollm2-135m", "multilingual-e5-small", "minilm")


@pytest.fixture(scope="session")
def models() -> ModelStore:
    """The default cache, with both built-in models in it (tests run offline, so they are pulled beforehand)."""
    store = ModelStore()
    try:
        for name in NEEDED:
            store.find(name)
    except ModelError as error:
        pytest.fail(f"{error}\nThese tests use the real models; `make test` pulls them first.", pytrace=False)
    return store


@pytest.fixture(scope="session")
def embedder(models: ModelStore) -> OnnxEmbedder:
    """The real MiniLM."""
    loaded = load_embedder("minilm", models)
    assert isinstance(loaded, OnnxEmbedder)
    return loaded


@pytest.fixture(scope="session")
def first_office(tmp_path_factory: pytest.TempPathFactory, models: ModelStore) -> Path:
    """The team that `metier init` writes, built once; tests get copies."""
    folder = tmp_path_factory.mktemp("first") / "office"
    init_tiny(folder)
    build(Blueprint.read(folder), store=models)
    return folder


@pytest.fixture(scope="module")
def office(first_office: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The office for all tests of a module, which may talk with it but change nothing."""
    return Path(shutil.copytree(first_office, tmp_path_factory.mktemp("module") / "office"))


@pytest.fixture
def copy(office: Path, tmp_path: Path) -> Path:
    """The office for one test, which may do with it what it likes."""
    return Path(shutil.copytree(office, tmp_path / "office"))


class Ran(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """Types of the fixture `run`."""

    def __call__(self, *words: object, stdin: str | bytes | None = None) -> Ran: ...


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("ask", "…")` is the command `metier ask …` as a user starts it, with `stdin` typed or piped into it."""

    def call(*words: object, stdin: str | bytes | None = None) -> Ran:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["metier", *map(str, words)])
            if stdin is not None:
                data = stdin.encode() if isinstance(stdin, str) else stdin
                patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
            with pytest.raises(SystemExit) as stop:
                run_command()
        code, printed = stop.value.code, capsys.readouterr()
        return Ran(code if isinstance(code, int) else 0 if code is None else 1, printed.out, printed.err)

    return call


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL; `postgres.database()` gives an empty database, `postgres.restart()` starts it anew."""
    if installed() is None:
        pytest.skip("PostgreSQL is not installed: pip install -e '.[dev]'")
    with Postgres() as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Open]:
    """Opens the team on the same folder again and again, as new processes would."""
    opened: list[Team] = []

    def open_one(**options: Any) -> Team:
        opened.append(open_shop(tmp_path, **options))
        return opened[-1]

    yield open_one
    for team in opened:
        team.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, models: ModelStore) -> Iterator[Team]:
    """The team of `tests/desk.py`, which takes its time to write."""
    with open_desk(tmp_path_factory.mktemp("desk"), pause=0.02) as team:
        yield team


@pytest.fixture(scope="module")
def address(desk: Team) -> Iterator[str]:
    """Where that team is served."""
    with served(desk) as address:
        yield address


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, models: ModelStore) -> Iterator[House]:
    """The house of `tests/tenants.py`, for all who try to break in."""
    with open_house(tmp_path_factory.mktemp("house")) as opened:
        yield opened
