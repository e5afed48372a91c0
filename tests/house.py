"""The package as its tests and `benchmarks/house.py` look at it: every file, parsed, what it imports, and what may be
counted of all of them. The counts take any list of modules and name what they count, one line each."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).parent.parent
OUTSIDE = {"tests", "benchmarks", "examples", "docs", "build", "dist"}
"""Root folders that are not part of the package."""
SMALL = 60
"""A file with fewer lines needs a second importer."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


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
    """A file of the package whose root folder is `root`."""

    path: Path
    root: Path = ROOT

    @cached_property
    def name(self) -> str:
        """Dotted, from the package's root; "" is the root's `__init__`."""
        parts = self.path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def area(self) -> str:
        """The root folder it is in; "" for the root itself."""
        return self.path.relative_to(self.root).parts[0] if self.path.parent != self.root else ""

    @property
    def file(self) -> str:
        """Its path from the package's root."""
        return self.path.relative_to(self.root).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

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
    package = module.path.parent.relative_to(module.root).parts
    base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else [])]
    for alias in node.names:
        deeper = module.root.joinpath(*base, alias.name)
        exists = deeper.with_suffix(".py").is_file() or (deeper / "__init__.py").is_file()
        yield Import(".".join([*base, alias.name] if exists else base), True, lazy, typing, False, node.lineno)


def python_files(*folders: str, root: Path = ROOT) -> list[Path]:
    """All Python files below these folders of the root, hidden ones left out."""
    hidden = re.compile(r"(^|/)(\.|__pycache__)")
    files = [p for folder in folders for p in sorted((root / folder).rglob("*.py"))]
    return [p for p in files if not hidden.search(p.relative_to(root).as_posix())]


def areas(root: Path = ROOT) -> list[str]:
    """The root's folders that belong to the package."""
    return [p.name for p in sorted(root.iterdir()) if (p / "__init__.py").is_file() and p.name not in OUTSIDE]


def package(root: Path = ROOT) -> list[Module]:
    """Every file of the package: those in the root itself, and those of its areas."""
    return [Module(p, root) for p in [*sorted(root.glob("*.py")), *python_files(*areas(root), root=root)]]


AREAS = areas()
PACKAGE = package()


def public_names(modules: Sequence[Module], *, assigned: bool = True) -> dict[str, list[str]]:
    """Public name → the files that define it at their top level; what `serving` gives to Typer is left out.

    Args:
        assigned: Constants and other assigned names count, too; otherwise only classes and functions.
    """
    commands = {name for m in modules if m.area == "serving" for name in _commands(m.tree)}
    files: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        for name in dict.fromkeys(_defined(module.tree, assigned)):
            if not name.startswith("_") and not (module.area == "serving" and name in commands):
                files[name].append(module.file)
    return dict(files)


def _defined(tree: ast.Module, assigned: bool) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function):
            yield node.name
        elif assigned and isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
            yield from (name.id for name in names if isinstance(name.ctx, ast.Store))


def _commands(tree: ast.Module) -> Iterator[str]:
    """Functions given to Typer (`app.command(…)(module.name)` or `@app.command(…)`), and the names of its objects."""
    for node in ast.walk(tree):
        if isinstance(node, Function) and any(map(_registers, node.decorator_list)):
            yield node.name
        elif isinstance(node, ast.Call) and (_registers(node.func) or _last_name(node.func) == "add_typer"):
            yield from map(_last_name, node.args)
        elif (
            isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _last_name(node.value.func) == "Typer"
        ):
            yield from map(_last_name, node.targets)


def _registers(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _last_name(node.func) in ("command", "callback")


def _last_name(node: ast.expr) -> str:
    """`c` of `c` and of `a.b.c`; "" of anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def twice(names: dict[str, list[str]]) -> list[str]:
    """Those of `public_names` that several files define."""
    return [f"{name}: {', '.join(files)}" for name, files in sorted(names.items()) if len(files) > 1]


def import_graph(modules: Iterable[Module]) -> nx.DiGraph:
    """Module names; an edge goes from who imports, in whatever way, to what is imported."""
    graph = nx.DiGraph()
    graph.add_nodes_from(m.name for m in modules)
    graph.add_edges_from(
        (m.name, i.target) for m in modules for i in m.imports if i.own and i.target in graph and i.target != m.name
    )
    return graph


def circles(modules: Sequence[Module]) -> list[str]:
    """Groups of modules that all reach one another by imports, late ones and those for types included."""
    groups = nx.strongly_connected_components(import_graph(modules))
    return sorted(" ↔ ".join(sorted(group)) for group in groups if len(group) > 1)


def small_with_one_importer(modules: Sequence[Module]) -> list[str]:
    """Files under `SMALL` lines that exactly one other file imports; `__init__.py` and `__main__.py` are not meant."""
    graph = import_graph(modules)
    importers = {m.name: sorted(graph.predecessors(m.name)) for m in modules}
    return [
        f"{m.file}: {m.lines} lines, imported by {importers[m.name][0]}"
        for m in modules
        if m.lines < SMALL and len(importers[m.name]) == 1 and not m.path.name.startswith("__")
    ]


def unreachable(modules: Sequence[Module]) -> list[str]:
    """Files that neither `import metier` nor the `metier` command can lead to, by imports or by strings."""
    graph = import_graph(modules)
    for module in modules:
        graph.add_edges_from([(module.name, target) for target in named_modules(module) if target in graph])
        if module.name:  # whoever imports a file runs the `__init__` of its folder
            graph.add_edge(module.name, module.name.rpartition(".")[0])
    doors = [name for name in ("", "__main__") if name in graph]
    reached = set(doors).union(*(nx.descendants(graph, door) for door in doors))
    return [m.file for m in modules if m.name not in reached]


_MODULE = re.compile(r"(?P<up>\.*)(?P<path>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)(:[\w.]+)?")


def named_modules(module: Module) -> Iterator[str]:
    """What its strings may name: `core.types`, `metier.core.types:Route`, or from its own folder `.types:Route`.

    Docstrings are left out. Not all that looks like a module is one.
    """
    package = module.path.parent.relative_to(module.root).parts
    for text in _strings(module.tree):
        match = _MODULE.fullmatch(text)
        if match and match["up"]:
            yield ".".join([*package[: len(package) - len(match["up"]) + 1], match["path"]])
        elif match and "." in match["path"]:
            yield match["path"].removeprefix("metier.")


def _strings(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str) and not isinstance(node, ast.Expr):
            yield child.value
        yield from _strings(child)


def functions(modules: Iterable[Module]) -> Iterator[tuple[str, Function]]:
    """Every function and method: `file:line name`, and its code."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, Function):
                yield f"{module.file}:{node.lineno} {node.name}", node


def length(function: Function) -> int:
    """Lines from `def` to the end; decorators are not counted."""
    return (function.end_lineno or 0) - function.lineno + 1


def complexity(function: Function) -> int:
    """1, and 1 for each branch, further operand of `and` or `or`, and `for` and `if` of a comprehension.

    Those of the functions inside it are its own.
    """
    nodes = list(ast.walk(function))
    operands = sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    comprehensions = sum(1 + len(node.ifs) for node in nodes if isinstance(node, ast.comprehension))
    return 1 + sum(isinstance(node, BRANCHES) for node in nodes) + operands + comprehensions
