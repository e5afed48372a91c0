"""How fast a base is here, on each engine of this process: measured once, after it is pulled; what was prepared of it.

`engine: auto` takes the engine that answers sooner.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pydantic import Field, ValidationError

from ...core.errors import MetierError
from ...core.files import write_atomic
from ...core.models import LocalModel
from ...core.plugins import load
from ...core.run import Progress, no_progress
from ...core.settings import settings
from ...core.types import Value
from ..adapters.convert import base_hash
from .engine import Engine, Sampling

LOCAL = {
    "openvino": "metier.specialists.engines.openvino:OpenVinoEngine",
    "llama": "metier.specialists.engines.llama:LlamaEngine",
}
"""The engines that `auto` chooses from; where nothing was measured, the first that opens the base."""

_READ, _WRITTEN = 600, 20
"""Tokens of a usual turn: passages and question, and the answer."""

_PROMPT, _ANSWER, _ROUNDS = 300, 16, 2
"""Tokens that are read and written for the measurement, about; and how often. The best counts."""


class EngineSpeed(Value):
    """Of one engine with one base, on this machine."""

    read: float
    """Tokens a second."""
    write: float
    """Tokens a second."""

    def __str__(self) -> str:
        return f"reads {self.read:.0f}, writes {self.write:.0f} tokens/s"

    @property
    def turn(self) -> float:
        """Seconds of a usual turn."""
        return _READ / self.read + _WRITTEN / self.write


class BaseSpeeds(Value):
    """What was measured with one base."""

    gguf: str
    """SHA-256 of the base."""
    threads: int
    engines: dict[str, EngineSpeed]
    """The engines that can run it, the one that answers soonest first."""
    failed: dict[str, str] = Field(default_factory=dict)
    """The others, and why."""


def known_speeds(base: LocalModel) -> BaseSpeeds | None:
    """What was measured with this base; None where nothing was, or with another file."""
    try:
        found = BaseSpeeds.model_validate_json(_file(base).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return found if found.gguf == base.sha256("gguf") else None


def measure_speeds(base: LocalModel, progress: Progress = no_progress) -> BaseSpeeds:
    """Run the base on every engine, some seconds each, and keep the result. OpenVINO converts the base at that."""
    threads, engines, failed = settings().threads, dict[str, EngineSpeed](), dict[str, str]()
    for done, (name, place) in enumerate(LOCAL.items()):
        progress(f"{base.name}: speed of {name}", done, len(LOCAL))
        try:
            with closing(load(name, "engine", {name: place})(base.files["gguf"], {}, context=1024, slots=1)) as engine:
                engines[name] = _speed(engine)
        except MetierError as error:
            failed[name] = error.message
    progress(f"{base.name}: speed", len(LOCAL), len(LOCAL))
    ranked = dict(sorted(engines.items(), key=lambda item: item[1].turn))
    found = BaseSpeeds(gguf=base.sha256("gguf"), threads=threads, engines=ranked, failed=failed)
    write_atomic(_file(base), found.model_dump_json(indent=2))
    return found


def ranked_engines(base: LocalModel | None) -> list[str]:
    """The engines of `LOCAL` that can run a base, the fastest first as far as that was measured."""
    found = known_speeds(base) if base else None
    return list(found.engines) if found and found.engines else list(LOCAL)


_OPENVINO_FORMAT = 2
"""Part of the folder's name; raised whenever its contents would differ."""


def openvino_folder(gguf: Path, cache: Path | None = None) -> Path:
    """Where a base is kept as OpenVINO loads it, once that was made.

    Args:
        cache: Where such folders are kept; None means a folder in `settings().home`.
    """
    key = hashlib.sha256(f"{_OPENVINO_FORMAT} {base_hash(gguf)}".encode()).hexdigest()[:24]
    return (cache or settings().home / "openvino") / key


def prepared_forms(base: LocalModel) -> dict[str, int]:
    """What was made of a base after the download, and its bytes on the disk: `gguf` where that was re-quantised,
    `openvino` where it was converted.
    """
    forms = {"gguf": base.files["gguf"].stat().st_size} if "original" in base.files else {}
    folder = openvino_folder(base.files["gguf"])
    if folder.is_dir():
        forms["openvino"] = sum(path.stat().st_size for path in folder.iterdir())
    return forms


def _file(base: LocalModel) -> Path:
    return settings().home / "speeds" / f"{base.name}.json"


def _speed(engine: Engine) -> EngineSpeed:
    times = list(_times(engine))
    return EngineSpeed(read=max(read for read, _ in times), write=max(write for _, write in times))


def _times(engine: Engine) -> Iterator[tuple[float, float]]:
    """Tokens read and written per second, in each round."""
    for number in range(_ROUNDS):
        asked = f"{number} " + "The pump is greased every week. " * (_PROMPT // 7)
        start = time.perf_counter()
        usage = engine.chat(Sampling(max_tokens=1)).invoke(asked).usage_metadata
        assert usage
        read = usage["input_tokens"] / (time.perf_counter() - start)
        # What was just read is still known: this call writes.
        start = time.perf_counter()
        usage = engine.chat(Sampling(max_tokens=_ANSWER)).invoke(asked).usage_metadata
        assert usage
        yield read, usage["output_tokens"] / (time.perf_counter() - start)
