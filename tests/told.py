"""An engine by its place, for teams whose specialists have bases of their own: it says what base it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metier.specialists.engines.scripted import ScriptedEngine

OPEN: list[Told] = []
"""Engines that are open at present, the first opened first."""


class Told(ScriptedEngine):
    """Named in a card as `metier.tests.told:Told`."""

    def __init__(self, gguf: Path, adapters: Mapping[str, Path], **options: Any) -> None:
        super().__init__(lambda messages: f"so says {gguf.stem}", [*adapters])
        self.base = gguf.stem
        OPEN.append(self)

    def close(self) -> None:
        super().close()
        if self in OPEN:
            OPEN.remove(self)
