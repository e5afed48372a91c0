"""What people install is what stands here: every folder and file in wheel and sdist, and the wheel works by itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from metier.tests.house import AREAS, ROOT

FOLDERS = [ROOT / area for area in AREAS]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
TEAMS = [
    path
    for pattern in SETUPTOOLS["package-data"]["metier"]
    for path in ROOT.glob(pattern)
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
"""What `metier init --from` copies."""
PACKAGE_FILES = {
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.py"), ROOT / "py.typed", *TEAMS, *(p for folder in FOLDERS for p in folder.rglob("*"))]
    if path.is_file() and "__pycache__" not in path.parts
}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it; made from a copy, so nothing is left here."""
    copy, out = tmp_path_factory.mktemp("tree") / "metier", tmp_path_factory.mktemp("dist")
    copy.mkdir()
    for path in [*FOLDERS, ROOT / "benchmarks", ROOT / "examples", *(p for p in ROOT.iterdir() if p.is_file())]:
        if path.is_file():
            shutil.copy(path, copy)
        else:
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__", "out", ".metier"))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def venv(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel; the libraries are those of this one, metier itself is not."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "--disable-pip-version-check", "install"]
    wheel = next(dist.glob("*.whl"))
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is only a path: the .pth files in that folder, ours among them, are not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_every_folder_with_code_is_declared() -> None:
    declared = SETUPTOOLS["packages"]
    folders = {init.parent.relative_to(ROOT) for folder in FOLDERS for init in folder.rglob("__init__.py")}
    assert sorted(declared) == sorted(["metier", *(".".join(["metier", *folder.parts]) for folder in folders)])
    code = {Path(f).parent for f in PACKAGE_FILES if f.endswith(".py") and not f.startswith("examples/")}
    bare = code - folders - {Path()}
    assert bare == set(), "folders with code but without __init__.py"


def test_every_extra_is_explained() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    explained = re.findall(r"^\| `([a-z]+)` \|", (ROOT / "docs" / "install.md").read_text(), flags=re.MULTILINE)
    assert sorted(explained) == sorted(extras)


def test_wheel_and_sdist_hold_every_file(dist: Path) -> None:
    wheel = {name for name in zipfile.ZipFile(next(dist.glob("*.whl"))).namelist() if ".dist-info/" not in name}
    files = {f"metier/{name}" for name in PACKAGE_FILES}
    assert sorted(files - wheel) == []
    assert sorted(wheel - files) == [], "what only maintainers run stays in the repository"
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert sorted(PACKAGE_FILES - packed) == []
    assert not [name for name in packed if name.startswith("benchmarks")]
    assert {"LICENSE", "README.md", "pyproject.toml"} <= packed


def test_the_wheel_works_in_a_clean_environment(venv: Path, tmp_path: Path) -> None:
    def run(*command: str) -> str:
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python, metier = str(venv / "bin" / "python"), str(venv / "bin" / "metier")
    assert run(python, "-c", "import metier; print(metier.__file__)").startswith(str(venv))
    assert "init" in run(metier, "--help")
    assert '"specialists"' in run(metier, "schema", "team")
    run(metier, "init", "office")
    assert (tmp_path / "office" / "travel" / "documents" / "trips.md").is_file()
