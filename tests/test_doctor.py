"""`metier doctor`: it finds what is wrong, names the line that mends it, and survives whatever is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metier.core.models import ModelStore
from metier.serving.doctor import (
    Finding,
    can_run,
    check_home,
    check_libraries,
    check_machine,
    check_models,
    check_python,
    check_team,
    default_models,
    diagnose,
)
from metier.serving.project import init_team


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METIER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def team(tmp_path: Path) -> Path:
    init_team(tmp_path / "office")
    return tmp_path / "office"


def of(findings: list[Finding], what: str) -> Finding:
    return next(f for f in findings if f.what == what)


def test_python_and_libraries_of_this_machine_are_right() -> None:
    findings = [*check_python(), *check_libraries()]
    assert [f for f in findings if f.status == "fail"] == []
    assert of(findings, "pydantic").found.startswith("2.")
    assert of(findings, "xllamacpp").status == "ok"
    assert of(findings, "dev").area == "extras"


def described(folder: Path, **more: str) -> Path:
    """A made-up description of metier in `folder`; an interpreter with it on its path sees the real libraries."""
    info = folder / "metier-9.dist-info"
    info.mkdir()
    files = {
        "METADATA": "Metadata-Version: 2.1\nName: metier\nVersion: 9\nRequires-Dist: no-such-library>=1\n"
        "Requires-Dist: pydantic>=99\nProvides-Extra: fancy\nRequires-Dist: no-such-extra; extra == 'fancy'\n",
        **more,
    }
    for name, text in files.items():
        (info / name).write_text(text)
    return folder


def libraries(description: Path, here: Path) -> str:
    code = "from metier.serving.doctor import *; print([(f.what, f.status, f.mend) for f in check_libraries()])"
    there = {**os.environ, "PYTHONPATH": str(description)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=there, capture_output=True, text=True, check=True, cwd=here).stdout


def test_a_missing_extra_is_a_note_and_a_missing_library_a_failure(tmp_path: Path) -> None:
    printed = libraries(described(tmp_path), tmp_path)
    assert "('no-such-library', 'fail', \"pip install 'no-such-library>=1'\")" in printed
    assert "('pydantic', 'fail', \"pip install 'pydantic>=99'\")" in printed
    assert "('fancy', 'note', \"pip install 'metier[fancy]'\")" in printed


def test_the_line_for_an_extra_names_the_checkout_where_there_is_one(tmp_path: Path) -> None:
    checkout = tmp_path / "my metier"
    checkout.mkdir()
    origin = json.dumps({"url": checkout.as_uri(), "dir_info": {"editable": True}})
    described(tmp_path, **{"direct_url.json": origin})
    assert "pip install -e '.[fancy]'" in libraries(tmp_path, checkout)
    assert f"pip install -e '{checkout}[fancy]'" in libraries(tmp_path, tmp_path)


def test_cores_memory_and_processor_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = list(check_machine())
    assert {f.what for f in findings} == {"cores", "processor", "memory"}
    monkeypatch.setenv("METIER_THREADS", "4096")
    assert of(list(check_machine()), "cores").mend.startswith("export METIER_THREADS=")


def test_a_home_that_is_a_file_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("METIER_HOME", str(tmp_path / "file" / "below"))
    folder = of(list(check_home()), "folder")
    assert folder.status == "fail"
    assert "METIER_HOME" in folder.mend


def test_models_that_are_not_here_name_the_line_that_brings_them(empty_home: Path) -> None:
    findings = list(check_models(default_models()))
    assert of(findings, "multilingual-e5-small").mend == "metier models pull multilingual-e5-small"
    assert of(findings, "minilm").mend == "metier models pull minilm", "the guards were fitted with it"
    assert not can_run(findings)
    assert not empty_home.exists(), "a look must not write"


def test_a_model_that_was_changed_is_found(models: ModelStore, empty_home: Path) -> None:
    """The real embedder, linked into a home of its own, with one file swapped for another of the same size."""
    for path in models.home.rglob("*"):
        if path.is_file() and path.parent.name in ("models", "blobs"):
            copy = empty_home / path.relative_to(models.home)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path)
    assert of(list(check_models(["minilm"])), "minilm").status == "ok"
    file = ModelStore().find("minilm").files["onnx"]
    size = file.stat().st_size
    file.unlink()
    file.write_bytes(b"\0" * size)
    finding = of(list(check_models(["minilm"])), "minilm")
    assert finding.status == "fail"
    assert finding.mend == "metier models pull minilm"


def test_a_new_team_can_run_and_should_be_built(models: ModelStore, team: Path) -> None:
    findings = check_team(team)
    assert can_run(findings), [f for f in findings if f.status == "fail"]
    assert of(findings, "travel: documents").found == "2 readable"
    assert of(findings, "build").mend == f"metier build -t {team}"


def test_a_wrong_card_a_broken_document_and_a_missing_folder_are_told(models: ModelStore, team: Path) -> None:
    (team / "travel" / "documents" / "scan.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (team / "helpdesk" / "documents").rename(team / "helpdesk" / "papers")
    findings = check_team(team)
    assert of(findings, "travel: documents").found == "2 readable"
    assert of(findings, "travel: documents/scan.pdf").status == "note"
    assert of(findings, "helpdesk: documents").status == "fail"

    (team / "team.yaml").write_text("name: office\nspecialist: [travel]\n")
    card = of(check_team(team), "team")
    assert card.status == "fail"
    assert "did you mean 'specialists'?" in card.found


def test_a_folder_without_a_team_is_told(tmp_path: Path) -> None:
    assert of(check_team(tmp_path), "team").mend == f"metier init {tmp_path}"


def test_a_wrong_setting_spoils_only_what_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METIER_THREADS", "many")
    findings = diagnose(tmp_path / "none")
    assert "METIER_THREADS is 'many'" in of(findings, "machine").found
    assert of(findings, "Python").status == "ok"
    assert of(findings, "team").mend == f"metier init {tmp_path / 'none'}"


def test_a_half_installed_metier_says_so(tmp_path: Path) -> None:
    """A library that breaks on import is told in one line, even before the command line can be read."""
    (tmp_path / "typer.py").write_text("raise ImportError('libfoo.so.1: cannot open shared object file')")
    run = subprocess.run(
        [sys.executable, "-m", "metier", "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 3
    assert "libfoo.so.1" in run.stderr
    assert "pip install --force-reinstall metier" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_library_that_crashes_is_told(tmp_path: Path) -> None:
    (tmp_path / "xllamacpp.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)")
    (tmp_path / "faiss.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    run = subprocess.run(
        [sys.executable, "-m", "metier", "doctor", "--json"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = {f["found"]: f["mend"] for f in json.loads(run.stdout)["findings"] if f["status"] == "fail"}
    assert run.returncode == 1
    assert "import ends with SIGILL: it was compiled for another processor" in found
    assert any("libgomp.so.1" in text for text in found)
    assert "pip install --force-reinstall xllamacpp" in found.values()
