"""What `benchmarks/house.py` counts, on a made-up package, and the profile of its walks."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest

from metier.benchmarks.house import Walk, count, profiled
from metier.tests import house

FILES = {
    "__init__.py": '"""Root."""\nfrom .core import types\n_HOME = {"Team": "agents.team"}\n',
    "__main__.py": "def main():\n    from .serving.cli import main as run\n    run()\n",
    "core/__init__.py": "",
    "core/types.py": "Answer: int = 1\n_PRIVATE = 2\nfirst, second = 3, 4\n",
    "core/errors.py": "from typing import overload\nclass MetierError(Exception): ...\n" + "#\n" * 60,
    "agents/__init__.py": "",
    "agents/team.py": "from ..core.types import Answer\nfrom ..core import errors\nfrom . import crew\n"
    "class Team: ...\n",
    "agents/crew.py": "from typing import TYPE_CHECKING\nfrom ..core.types import first\nfrom ..core import errors\n"
    "if TYPE_CHECKING:\n    from .team import Team\n_TABLE = {'x': '.plugin:Plugin'}\nAnswer = 2\n",
    "agents/plugin.py": "class Plugin: ...\n",
    "agents/dead.py": '"""Is named only here and in a docstring: agents.deader."""\nfrom . import deader\n',
    "agents/deader.py": '".dead"\ndef ask(): ...\n',
    "serving/__init__.py": "",
    "serving/cli.py": "import typer\nfrom . import ask_cli\napp = typer.Typer()\napp.command('a')(ask_cli.ask)\n"
    "app.add_typer(ask_cli.more)\ndef main(): ...\n",
    "serving/ask_cli.py": "import typer\nmore = typer.Typer()\ndef ask(): ...\n"
    "@more.command()\ndef Team(): ...\ndef Plugin(): ...\n",
    "tests/__init__.py": "class Team: ...\n",
}


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> list[house.Module]:
    root = tmp_path_factory.mktemp("package")
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return house.package(root)


def test_the_package_is_the_root_and_its_areas(modules):
    assert sorted(m.file for m in modules) == sorted(set(FILES) - {"tests/__init__.py"})
    assert {m.name for m in modules if m.area == "serving"} == {"serving", "serving.cli", "serving.ask_cli"}


def test_names_defined_twice_are_those_of_two_files_commands_aside(modules):
    names = house.public_names(modules)
    assert names["first"] == names["second"] == ["core/types.py"]
    assert "_PRIVATE" not in names
    assert "more" not in names
    assert house.twice(names) == [
        "Answer: agents/crew.py, core/types.py",
        "Plugin: agents/plugin.py, serving/ask_cli.py",
        "main: __main__.py, serving/cli.py",
    ]
    definitions = house.twice(house.public_names(modules, assigned=False))
    assert [line.split(":")[0] for line in definitions] == ["Plugin", "main"]


def test_circles_are_seen_through_imports_for_types(modules):
    assert house.circles(modules) == ["agents.crew ↔ agents.team"]


def test_small_files_with_one_importer(modules):
    # types has three importers, errors is long enough and has two, plugin is only named in a string.
    assert house.small_with_one_importer(modules) == [
        "agents/crew.py: 7 lines, imported by agents.team",
        "agents/deader.py: 2 lines, imported by agents.dead",
        "agents/team.py: 4 lines, imported by agents.crew",
        "serving/ask_cli.py: 6 lines, imported by serving.cli",
        "serving/cli.py: 6 lines, imported by __main__",
    ]


def test_strings_that_name_modules_lead_there_and_docstrings_do_not(modules):
    assert house.unreachable(modules) == ["agents/dead.py", "agents/deader.py"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(): return 1", 1),
        ("def f(a):\n if a: pass\n elif a and a and a: pass\n else: pass", 5),
        ("async def f(a):\n async for x in a: pass\n while a: pass\n return 1 if a else 2", 4),
        ("def f(a): return [x for x in a for y in x if y or x]", 5),
        ("def f(a):\n try: pass\n except A: pass\n except B: pass\n with a: assert a", 3),
        ("def f(a):\n match a:\n  case 1: pass\n  case _: pass\n def g():\n  if a: pass", 4),
    ],
)
def test_complexity_counts_branches_operands_and_comprehensions(code, expected):
    function = ast.parse(code).body[0]
    assert isinstance(function, house.Function)
    assert house.complexity(function) == expected
    assert house.length(function) == code.count("\n") + 1


def test_the_figures_are_those_of_the_lists(modules):
    figures = {c.metric: c for c in count(modules)}
    assert (figures["files"].value, figures["files_without_init"].value) == (14, 10)
    assert (figures["lines_median"].value, figures["lines_median_without_init"].value) == (3, 3.5)
    assert figures["names_twice"].value == len(figures["names_twice"].items) == 3
    assert figures["functions_long"].value == figures["functions_complex"].value == 0
    assert figures["functions_long"].n == 6


def test_a_walk_counts_moves_between_files_over_threads(tmp_path: Path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("def go(other):\n    near()\n    sum(x for x in (1, 2))\n    other()\n    near()\ndef near(): ...\n")
    two.write_text("def far(): (lambda: near())()\ndef near(): ...\n")
    here: dict = {}
    there: dict = {}
    exec(compile(one.read_text(), str(one), "exec"), here)
    exec(compile(two.read_text(), str(two), "exec"), there)

    def in_a_thread():
        thread = threading.Thread(target=there["far"])
        thread.start()
        thread.join()
        return "done"

    def work():
        here["go"](in_a_thread)
        return in_a_thread()

    result, walk = profiled(work, [str(one), str(two)])
    assert result == "done"
    # go, near | far, near | near | far, near
    assert walk.counts() == {"calls": 7, "functions": 4, "files": 2, "moves": 3}
    assert profiled(work, [str(two)])[1].counts() == {"calls": 4, "functions": 2, "files": 1, "moves": 0}
    assert Walk([]).counts() == {"calls": 0, "functions": 0, "files": 0, "moves": 0}
