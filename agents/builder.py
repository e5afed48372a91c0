"""From cards and documents to a team that can start: runs only what changed since the last build."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from ..core.embedding import Embedder
from ..core.errors import StateError
from ..core.files import write_atomic
from ..core.models.local import LocalModel
from .blueprint import Blueprint, fingerprint


@dataclass(frozen=True)
class Manifest:
    """What a build was made of; kept as `.metier/build.json`."""

    base: str
    embedder: str
    router: str
    """Fingerprint of all that the router was fitted on."""
    specialists: dict[str, str] = field(default_factory=dict)
    """Name to version: a fingerprint of card, documents, base and adapter."""

    @classmethod
    def read(cls, state: Path) -> Manifest | None:
        """The last finished build; None when there is none.

        Raises:
            StateError: the file cannot be read.
        """
        path = state / "build.json"
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise StateError(f"{path}: {error}", hint="metier build --fresh") from error

    def write(self, state: Path) -> None:
        write_atomic(state / "build.json", json.dumps(asdict(self), indent=2))
