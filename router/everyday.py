"""Texts that most teams should not answer, shipped for teams that have none of their own."""

from __future__ import annotations

import json
from pathlib import Path

from .example import normalise


def everyday() -> list[str]:
    """A few hundred everyday tasks of many kinds and in some languages (written for metier)."""
    groups = json.loads((Path(__file__).parent / "everyday.json").read_text(encoding="utf-8"))
    return [normalise(text) for group in groups.values() for text in group]
