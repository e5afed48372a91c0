"""How the package is built, in counts, and how far one question walks through it.

    python benchmarks/house.py [--no-walk] [--list] [--team DIR] [--json OUT]

The package is the Python files in the root and in its areas; tests, benchmarks, examples and docs are left out. A value
stands beside its target (`TARGETS`); `--list` names what was counted. Rows of the set `package`:

- `files`: every file, a one-line `__init__.py` too; `lines_median` is over the same files. `files_without_init` and
  `lines_median_without_init` leave all `__init__.py` out.
- `names_twice`: public names (classes, functions and assigned names at the top level of a file, without a leading
  underscore) that two or more files define; `n` is how many different public names there are. What is only imported is
  not defined there; commands of the command line and their Typer objects do not count (with them, 28cb9d1 has 157).
  `classes_functions_twice`: the same without assigned names.
- `circles`: groups of files that import one another, late imports and those for types included.
- `small_with_one_importer`: files under 60 lines that exactly one other file imports, `__init__.py` aside.
- `unreachable`: files that are not imported, at whatever distance, by `metier/__init__.py` or `metier/__main__.py`. A
  string that names a module (`"core.types"`, `".stores"`, `"metier.tools.sql:sql"`; docstrings aside) is an import.
- `functions_long`: over 60 lines from `def` to the end. `functions_complex`: over 15, counting 1 and each `if`, `elif`,
  conditional expression, loop, `except`, `case`, further operand of `and` or `or`, and each `for` and `if` of a
  comprehension; what stands in a function inside it counts, too.

The sets `walk/…` are one question each, profiled in a freshly built copy of the team, in a new thread, with a user
named, after another question has warmed everything up. `calls` are the call events of the package's functions in all
threads that work on the question: a generator that goes on is called again; lambdas, comprehensions and modules' own
code are left out. `functions` and `files` are the different ones among them. `moves` are the calls whose file is not
that of the call just before (28cb9d1: 63 files and 481 moves, 63 and 2,550 for SQL). Calls vary by a few percent with
what caches hold, the others hardly.
"""

from __future__ import annotations

import argparse
import operator
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from metier.benchmarks.harness import Report, Row, say
from metier.tests import house
from metier.tests.house import PACKAGE, ROOT, Module

LONG, COMPLEX = 60, 15
"""Lines that a function may have, and how complex it may be."""

TARGETS: dict[tuple[str, str], tuple[Callable[[float, float], bool], int]] = {
    ("package", "files"): (operator.le, 170),
    ("package", "lines_median"): (operator.ge, 120),
    ("package", "names_twice"): (operator.le, 0),
    ("package", "circles"): (operator.le, 0),
    ("package", "small_with_one_importer"): (operator.le, 0),
    ("package", "unreachable"): (operator.le, 0),
    ("package", "functions_long"): (operator.le, 0),
    ("package", "functions_complex"): (operator.le, 0),
    ("walk/quote", "files"): (operator.le, 32),
    ("walk/quote", "moves"): (operator.le, 250),
    ("walk/sql", "files"): (operator.le, 36),
    ("walk/sql", "moves"): (operator.le, 900),
}
"""Set and metric → what the value should be at most (`le`) or at least (`ge`)."""

WARM = "How often is the carousel bearing greased?"
WALKS = {
    "quote": ("What is the tightening torque of the main bearing ring on FL-2?", "maintenance"),
    "sql": ("How many purchase orders are open?", "figures"),
}
"""Name → question, and the specialist of the plant that must answer it: a refusal would be a shorter walk."""


class Count(NamedTuple):
    """One figure of the package: `items` says what was counted, one line each, for `--list`."""

    metric: str
    value: float
    n: int
    items: Sequence[str] = ()


def count(modules: Sequence[Module]) -> list[Count]:
    """All figures of the set `package`."""
    files = [m.lines for m in modules]
    bodies = [m.lines for m in modules if m.path.name != "__init__.py"]
    return [
        Count("files", len(files), len(files)),
        Count("lines_median", median(files), len(files)),
        Count("files_without_init", len(bodies), len(bodies)),
        Count("lines_median_without_init", median(bodies), len(bodies)),
        Count("lines", sum(files), len(files)),
        *_listed(modules),
    ]


def _listed(modules: Sequence[Module]) -> list[Count]:
    """The figures that are the number of things to be mended."""
    names, definitions = house.public_names(modules), house.public_names(modules, assigned=False)
    functions = list(house.functions(modules))
    lengths = {place: house.length(function) for place, function in functions}
    complexities = {place: house.complexity(function) for place, function in functions}
    found = {
        "names_twice": (house.twice(names), len(names)),
        "classes_functions_twice": (house.twice(definitions), len(definitions)),
        "circles": (house.circles(modules), len(modules)),
        "small_with_one_importer": (house.small_with_one_importer(modules), len(modules)),
        "unreachable": (house.unreachable(modules), len(modules)),
        "functions_long": ([f"{p}: {n} lines" for p, n in lengths.items() if n > LONG], len(functions)),
        "functions_complex": ([f"{p}: {n}" for p, n in complexities.items() if n > COMPLEX], len(functions)),
    }
    return [Count(metric, len(items), n, items) for metric, (items, n) in found.items()]


class Walk(NamedTuple):
    """The functions that were called, in order: file, qualified name, first line."""

    calls: list[tuple[str, str, int]]

    def counts(self) -> dict[str, int]:
        files = [file for file, _, _ in self.calls]
        return {
            "calls": len(self.calls),
            "functions": len(set(self.calls)),
            "files": len(set(files)),
            "moves": sum(before != after for before, after in pairwise(files)),
        }


def profiled(work: Callable[[], Any], files: Iterable[str]) -> tuple[Any, Walk]:
    """What `work` gives, and the calls of functions in `files`, by this thread and by those that start meanwhile."""
    watched, walk = frozenset(files), Walk([])

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename in watched and not code.co_name.startswith("<"):
            walk.calls.append((code.co_filename, code.co_qualname, code.co_firstlineno))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        result = work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return result, walk


def walks(team_folder: Path) -> dict[str, Walk]:
    """The ways of `WALKS`, in a copy of the team that is built anew: what logs and threads hold would be read, too."""
    from metier import Team  # only here, so that a tree which does not run can still be counted

    files = [str(module.path) for module in PACKAGE]
    taken: dict[str, Walk] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(team_folder, Path(temporary) / "team", ignore=shutil.ignore_patterns(".metier")))
        say("building a copy of the team …")
        subprocess.run([sys.executable, "-m", "metier", "build", "-t", str(folder)], check=True, stdout=sys.stderr)
        with Team.load(folder) as team:
            team.ask(WARM, thread_id="warm", user="me")
            for name, (question, specialist) in WALKS.items():
                answer, walk = profiled(lambda q=question, t=name: team.ask(q, thread_id=t, user="me"), files)
                if answer.kind != "answer" or answer.specialist != specialist:
                    raise SystemExit(f"'{question}' should be answered by {specialist}, not: {answer}")
                taken[name] = walk
    return taken


def show(rows: Iterable[Row]) -> None:
    """The table: every value, with its target and whether it is met."""
    table = Table("set", "metric", "value", "target", "met", "n")
    for row in rows:
        holds, bound = TARGETS.get((row.set, row.metric), (None, 0))
        target = f"{'≤' if holds is operator.le else '≥'} {bound:,}" if holds else ""
        met = ("yes" if holds(row.value, bound) else "no") if holds else ""
        table.add_row(row.set, row.metric, f"{row.value:,g}", target, met, f"{row.n:,}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main() -> None:
    made = argparse.ArgumentParser(description="Counts of the package, and of two questions' ways through it.")
    made.add_argument(
        "--walk", action=argparse.BooleanOptionalAction, default=True, help="ask the plant's team, profiled"
    )
    made.add_argument(
        "--team", type=Path, default=ROOT / "examples" / "plant", metavar="DIR", help="the team that is asked"
    )
    made.add_argument("--list", action="store_true", help="name what was counted")
    made.add_argument("--json", type=Path, metavar="OUT", help="write the figures there")
    args = made.parse_args()
    report, counts = Report(args), count(PACKAGE)
    for figure in counts:
        report.add_value("package", "metier", figure.metric, figure.value, figure.n)
    for name, walk in (walks(args.team) if args.walk else {}).items():
        for metric, value in walk.counts().items():
            report.add_value(f"walk/{name}", "metier", metric, value)
    if args.list:
        for figure in counts:
            if figure.items:
                print(f"{figure.metric}: {len(figure.items)}", *figure.items, sep="\n  ", end="\n\n")
    show(report.rows)
    report.write()


if __name__ == "__main__":
    main()
