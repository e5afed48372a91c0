"""Which engine `auto` is: measured when a base is pulled, and another where the first cannot run it."""

from __future__ import annotations

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


def test_the_list_says_tier_and_speed(base: LocalModel, models: ModelStore, tmp_path: Path, run: Run) -> None:
    for folder in ("models", "blobs"):
        (tmp_path / folder).symlink_to(models.home / folder)
    keep(base, tmp_path, openvino=1.0, llama=2.0)
    _, out, _ = run("models", "list")
    line = next(line for line in out.splitlines() if "smollm2-135m" in line)
    assert "base tiny" in line
    assert "on this machine, openvino: reads 1200, writes 40 tokens/s" in out
