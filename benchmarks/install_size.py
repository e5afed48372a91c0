"""How much disk an install takes, and what each library brings: `python benchmarks/install_size.py [--extra NAME]`.

A fresh environment gets this tree and nothing else (it takes minutes: everything is installed anew). Sizes are what
lies on the disk afterwards, bytecode included, pip and setuptools of the environment left out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import networkx as nx
from harness import Report, say
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
GIVEN = {"pip", "setuptools"}
"""In every environment, or nearly."""


def main() -> None:
    """Install, measure, print."""
    made = argparse.ArgumentParser(description="The disk space that an install takes, by library.")
    made.add_argument("--extra", action="append", default=[], metavar="NAME", help="with this extra (may be repeated)")
    made.add_argument("--least", type=float, default=3, metavar="MB", help="libraries that bring less are not shown")
    made.add_argument("--json", type=Path, metavar="OUT", help="write the figures there")
    made.set_defaults(seed=0)
    args = made.parse_args()
    report = Report(args)
    with tempfile.TemporaryDirectory() as folder:
        site = install(Path(folder), args.extra)
        sizes, graph = measure(site, set(args.extra))
    name = f"metier[{','.join(args.extra)}]" if args.extra else "metier"
    report.add_value("install", name, "bytes", sum(sizes.values()), len(sizes))
    show(sizes, graph, args.least)
    if args.json:
        report.finish()


def install(folder: Path, extras: list[str]) -> Path:
    """Install a copy of this tree into a new environment below `folder`; returns its site-packages."""
    copy, venv = folder / "metier", folder / "venv"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    what = f"{copy}[{','.join(extras)}]" if extras else str(copy)
    say("installing into a fresh environment …")
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), what], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    return site


def measure(site: Path, extras: set[str]) -> tuple[dict[str, int], nx.DiGraph]:
    """Bytes of every library, and who requires whom."""
    sizes: dict[str, int] = {}
    graph = nx.DiGraph()
    for library in metadata.distributions(path=[str(site)]):
        name = plain(library.metadata["Name"])
        if name in GIVEN:
            continue
        paths = {Path(str(library.locate_file(file))) for file in library.files or []}
        sizes[name] = sum(path.stat().st_size for path in paths if path.is_file())
        wanted = extras if name == "metier" else set()
        for requirement in map(Requirement, library.requires or []):
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in {"", *wanted}):
                graph.add_edge(name, plain(requirement.name))
    return sizes, graph


def brings(graph: nx.DiGraph, library: str) -> set[str]:
    """What would not be there if metier did not require `library`."""
    without = graph.copy()
    without.remove_edge("metier", library)
    return set(nx.descendants(graph, "metier")) - set(nx.descendants(without, "metier"))


def show(sizes: dict[str, int], graph: nx.DiGraph, least: float) -> None:
    """One line for each library that metier names, largest first."""
    table = Table("library", "itself, MB", "with all that it alone brings, MB", "of that")
    rows: list[tuple[float, str, float, str]] = []
    for library in graph.successors("metier"):
        alone = sorted(brings(graph, library) & set(sizes), key=lambda name: -sizes[name])
        others = ", ".join(f"{name} {sizes[name] / 1e6:.0f}" for name in alone if name != library and sizes[name] > 1e6)
        rows.append((sum(sizes[name] for name in alone) / 1e6, library, sizes.get(library, 0) / 1e6, others))
    for together, library, itself, others in sorted(rows, reverse=True):
        if max(together, itself) >= least:
            table.add_row(library, f"{itself:.0f}", f"{together:.0f}" if together else "(shared)", others)
    ours, total = sizes["metier"] / 1e6, sum(sizes.values()) / 1e6
    table.add_section()
    table.add_row("metier", f"{ours:.1f}", f"{total:.0f}", "code, skills, heads and templates")
    table.add_row("all", f"{total:.0f}", f"{total:.0f}", f"{len(sizes)} libraries; those that several bring count once")
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def plain(name: str) -> str:
    """Names of libraries, as PyPI compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
