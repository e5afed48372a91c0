"""The package as its tests look at it: every file, parsed, with what it imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUTSIDE = {"tests", "benchmarks", "examples", "docs", "build", "dist"}
"""Root folders that are not part of the package."""


@dataclass(frozen=True)
class Import:
    """One imported module: `target` is dotted, from the package's root for our own."""

    target: str
    own: bool
    lazy: bool
    typing: bool
    absolute: bool
    line: int


@dataclass(frozen=True)
class Module:
    """A file of the package."""

    path: Path

    @cached_property
    def name(self) -> str:
        """Dotted, from the package's root; "" is the root's `__init__`."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def area(self) -> str:
        """The root folder it is in; "" for the root itself."""
        return self.path.relative_to(ROOT).parts[0] if self.path.parent != ROOT else ""

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text())

    @cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self, self.tree, lazy=False, typing=False))


def _imports(module: Module, node: ast.AST, *, lazy: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                own = alias.name.split(".")[0] == "metier"
                yield Import(alias.name.removeprefix("metier."), own, lazy, typing, True, child.lineno)
        elif isinstance(child, ast.ImportFrom):
            yield from _targets(module, child, lazy, typing)
        else:
            late = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            seen = typing or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
            yield from _imports(module, child, lazy=late, typing=seen)


def _targets(module: Module, node: ast.ImportFrom, lazy: bool, typing: bool) -> Iterator[Import]:
    if not node.level:
        own = (node.module or "").split(".")[0] == "metier"
        yield Import((node.module or "").removeprefix("metier."), own, lazy, typing, True, node.lineno)
        return
    package = module.path.parent.relative_to(ROOT).parts
    base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else [])]
    for alias in node.names:
        deeper = ROOT.joinpath(*base, alias.name)
        exists = deeper.with_suffix(".py").is_file() or (deeper / "__init__.py").is_file()
        yield Import(".".join([*base, alias.name] if exists else base), True, lazy, typing, False, node.lineno)


def python_files(*folders: str) -> list[Path]:
    """All Python files below these folders of the root, hidden ones left out."""
    hidden = re.compile(r"(^|/)(\.|__pycache__)")
    files = [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]
    return [p for p in files if not hidden.search(p.relative_to(ROOT).as_posix())]


AREAS = [p.name for p in sorted(ROOT.iterdir()) if (p / "__init__.py").is_file() and p.name not in OUTSIDE]
PACKAGE = [Module(p) for p in [*sorted(ROOT.glob("*.py")), *python_files(*AREAS)]]
