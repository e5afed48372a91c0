"""The plan of the house, kept: who may import whom, how large things are, what is documented, what start-up loads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import networkx as nx
import pytest
from packaging.requirements import Requirement

from metier.tests.house import (
    AREAS,
    PACKAGE,
    ROOT,
    Module,
    circles,
    public_names,
    python_files,
    small_with_one_importer,
    twice,
    unreachable,
)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LAYER = {"core": 0, "router": 1, "tools": 1, "memory": 1, "specialists": 2, "agents": 3, "serving": 4, "": 5}
"""An area sees itself and lower layers; the siblings of layer 1 never see each other. "" is the root."""
ONLY_IN = {
    "langgraph": {"agents", "memory"},
    "torch": {"specialists"},
    "peft": {"specialists"},
    "transformers": {"specialists"},
    "typer": {"serving"},
    "mcp": {"serving", "tools"},
    "fastapi": {"serving"},
}
NEEDS_EXTRA = (
    "specialists.knowledge.qdrant",  # its neighbour `pgvector` looks like the base: llama-index has one name for all
    *("agents.train", "memory.postgres", "tools.builtin.plot", "tools.builtin.python", "tools.mcp"),
    *("specialists.engines.remote", "specialists.engines.transformers", "specialists.engines.unpack"),
    *("specialists.training", "serving.http", "serving.mcp_server"),
)
"""Modules and folders that cannot be imported without an extra; all others import them late, behind `MissingExtra`."""
PARTS_OF_EXTRAS = ("llama_index.vector_stores.",)
"""Of libraries that come in parts: what is in an extra."""
COMES_WITH = {
    **{"pydantic_core": "pydantic", "openai": "langchain_openai", "openvino": "openvino_genai"},
    "psycopg_pool": "psycopg",
    "starlette": "fastapi",
}
"""Libraries that are used through the one they belong to, and that it requires in the version it needs."""
HEAVY = {
    *("faiss", "langchain", "langchain_core", "langgraph", "llama_index", "networkx", "numpy", "openai"),
    *("openvino", "pandas", "scipy", "sklearn", "tokenizers", "torch", "transformers", "xllamacpp"),
}
"""Must not be loaded by `import metier` or `metier --help`."""


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _place(module: Module, line: int) -> str:
    return f"{module.path.relative_to(ROOT)}:{line}"


def test_every_area_has_its_layer() -> None:
    assert {*AREAS, ""} == set(LAYER)


def test_imports_go_down_only() -> None:
    wrong = [
        f"{_place(m, i.line)} imports {i.target}"
        for m in PACKAGE
        for i in m.imports
        if i.own and (area := i.target.split(".")[0] if "." in i.target or i.target in AREAS else "") != m.area
        if area and LAYER[area] >= LAYER[m.area]
    ]
    assert not wrong, "\n" + "\n".join(map(str, wrong))


def test_few_files_know_all_three_siblings() -> None:
    siblings = {area for area, layer in LAYER.items() if layer == 1}
    areas = {m.name: {i.target.split(".")[0] for i in m.imports if i.own and not i.typing} for m in PACKAGE}
    assert {name for name, seen in areas.items() if siblings <= seen} <= {"agents.assemble", "agents.team"}


def test_inside_the_package_imports_are_relative() -> None:
    own = {"metier", *AREAS}
    wrong = [_place(m, i.line) for m in PACKAGE for i in m.imports if i.absolute and i.target.split(".")[0] in own]
    assert not wrong, "\n" + "\n".join(map(str, wrong))


def test_libraries_stay_in_their_area() -> None:
    wrong = [
        f"{_place(m, i.line)} imports {i.target}"
        for m in PACKAGE
        for i in m.imports
        if m.area not in ONLY_IN.get(i.target.split(".")[0], {m.area}) and not i.own
    ]
    assert not wrong, "\n" + "\n".join(map(str, wrong))


def test_there_are_no_import_cycles() -> None:
    assert circles(PACKAGE) == [], "late and typing imports count, too"


def test_a_public_name_means_one_thing() -> None:
    assert twice(public_names(PACKAGE)) == []


def test_a_small_file_with_one_importer_is_part_of_it() -> None:
    assert small_with_one_importer(PACKAGE) == []


def test_a_user_can_reach_every_module() -> None:
    assert unreachable(PACKAGE) == []


def test_late_imports_are_for_the_doors_and_for_extras() -> None:
    extras = _extra_modules() - _modules_of(PROJECT["dependencies"])
    wrong = [
        f"{_place(m, i.line)} imports {i.target} late"
        for m in PACKAGE
        for i in m.imports
        if i.lazy and m.area not in ("serving", "")
        if not (_needs_extra(i.target) if i.own else i.target.split(".")[0] in extras)
        if not i.target.startswith(PARTS_OF_EXTRAS)
    ]
    assert not wrong, "\n" + "\n".join(map(str, wrong))


def test_every_library_that_is_imported_is_declared() -> None:
    declared = _modules_of(PROJECT["dependencies"]) | _extra_modules() | set(sys.stdlib_module_names)
    used = [(i.target.split(".")[0], m, i) for m in PACKAGE for i in m.imports if not i.own]
    wrong = [f"{_place(m, i.line)} {name}" for name, m, i in used if COMES_WITH.get(name, name) not in declared]
    assert not wrong, "\n" + "\n".join(map(str, wrong))


def test_the_base_needs_no_extra() -> None:
    extras = _extra_modules() - _modules_of(PROJECT["dependencies"])
    early = [(m.name, i) for m in PACKAGE for i in m.imports if not (i.lazy or i.typing)]
    graph = nx.DiGraph((i.target, name) for name, i in early if i.own)
    direct = {name for name, i in early if not i.own and i.target.split(".")[0] in extras}
    graph.add_nodes_from(direct)
    needing = direct.union(*(nx.descendants(graph, name) for name in direct))
    assert sorted(name for name in needing if not _needs_extra(name)) == []
    assert [part for part in NEEDS_EXTRA if not any(_within(name, part) for name in needing)] == []


def _needs_extra(module: str) -> bool:
    return any(_within(module, part) for part in NEEDS_EXTRA)


def _within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def _modules_of(requirements: list[str]) -> set[str]:
    names = {_plain(Requirement(line).name) for line in requirements}
    brought = {module for module, dists in packages_distributions().items() if names & {_plain(d) for d in dists}}
    return brought | {name.replace("-", "_") for name in names}


def _extra_modules() -> set[str]:
    return _modules_of([line for lines in PROJECT["optional-dependencies"].values() for line in lines])


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_files_and_functions_stay_small() -> None:
    large = []
    for path in [*(m.path for m in PACKAGE), *python_files("benchmarks", "examples")]:
        text = path.read_text()
        lines = len(text.splitlines())
        reason = "Long, for " in (ast.get_docstring(ast.parse(text)) or "")
        large += [f"{path.relative_to(ROOT)}: {lines} lines, and no reason"] if lines > 600 and not reason else []
        large += [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, FUNCTIONS) and (length := (node.end_lineno or 0) - node.lineno + 1) > 60
        ]
    assert not large, "\n" + "\n".join(map(str, large))


def test_everything_public_is_documented() -> None:
    bare = [_place(m, 1) for m in PACKAGE if not ast.get_docstring(m.tree) and m.name != "_version"]
    for module in PACKAGE:
        bare += [
            f"{_place(module, node.lineno)} {node.name}"
            for node in module.tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if not node.name.startswith("_") and not ast.get_docstring(node)
            if not any(ast.unparse(d).endswith("overload") for d in node.decorator_list)
        ]
    assert not bare, "\n" + "\n".join(map(str, bare))


def test_all_names_what_is_there() -> None:
    wrong = []
    for module in PACKAGE:
        listed = next((ast.literal_eval(n.value) for n in module.tree.body if _assigns(n, "__all__")), None)  # pyright: ignore
        here = set(_bound(module.tree)) | (_home(module) if module.name == "" else set())
        where = module.path.relative_to(ROOT)
        if listed is not None and not set(listed) <= here:
            wrong.append(f"{where}: not there: {sorted(set(listed) - here)}")
        if listed is not None and listed != sorted(listed):
            wrong.append(f"{where}: __all__ is not sorted")
        if listed is None and module.path.name == "__init__.py" and not any(map(_defines, module.tree.body)):
            wrong += [f"{where}: passes on {name} without __all__" for name in here - {"annotations"}]
    assert not wrong, "\n" + "\n".join(wrong)


def _defines(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)


def _assigns(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name


def _bound(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def _home(module: Module) -> set[str]:
    """Names that the root loads when first used; each must be where the table says."""
    table = next(ast.literal_eval(n.value) for n in module.tree.body if _assigns(n, "_HOME"))  # pyright: ignore
    by_name = {m.name: m for m in PACKAGE}
    assert [name for name, home in table.items() if home not in by_name or name not in _bound(by_name[home].tree)] == []
    return set(table)


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    files = [ROOT / name for name in listed if name] or [m.path for m in PACKAGE]
    place = re.compile(rb"(?<![\w.$])/(work|farm|tmp|root|home/\w+)/")
    assert [f.relative_to(ROOT).as_posix() for f in files if f.is_file() and place.search(f.read_bytes())] == []


CHILD = """
import sys, time
before = time.process_time()
{code}
print(time.process_time() - before, *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
HELP = """
import contextlib, io
from metier.__main__ import main
sys.argv = ["metier", "--help"]
with contextlib.redirect_stdout(io.StringIO()) as shown:
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
assert "doctor" in shown.getvalue()
"""


@pytest.mark.parametrize(("code", "limit"), [("import metier", 0.5), (HELP, 2.0)], ids=["import", "help"])
def test_starting_is_quick_and_loads_nothing_heavy(code: str, limit: float) -> None:
    command = [sys.executable, "-c", CHILD.format(code=code)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(3)]
    assert HEAVY.isdisjoint(runs[0][1:]), sorted(HEAVY.intersection(runs[0][1:]))
    # Processor seconds, so that other work on the machine does not count.
    assert min(float(run[0]) for run in runs) < limit
