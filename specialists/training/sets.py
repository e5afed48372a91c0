"""Reading the public sets that skills are trained on, and keeping a part of them aside."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_rows(folder: Path, name: str) -> list[Row]:
    """The rows of `name`.jsonl; none when the file is absent. Only a newline ends a row."""
    file = folder / f"{name}.jsonl"
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]


def kept_aside(group: str, share: float = 0.15) -> bool:
    """Whether a group of rows (a document, a database, a function) belongs to the part that is only scored.

    It depends on the group's name alone, so that rows that come later do not move the others.
    """
    return hashlib.sha256(group.encode()).digest()[0] / 256 < share
