"""The cache of models under METIER_HOME, addressed by content.

models/NAME.json         what was pulled: sources, hashes, licence, recipe
blobs/SHA256.gguf        the files; one that two models share is there once
downloads/               unfinished downloads, resumed by the next pull
models.yaml              the user's catalogue
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from pydantic import Field, ValidationError

from ..errors import IntegrityError, ModelNotPulled, UnknownModel, unknown
from ..files import sha256, write_atomic
from ..settings import settings
from ..types import Value
from .catalogue import Entry, FileSpec, read_catalogue, resolve
from .local import LocalModel
from .pull import Puller
from .quantise import RECIPE, to_q4_0
from .transfer import Progress


class StoredFile(Value):
    """A file in the cache."""

    sha256: str
    size: int
    """Bytes."""
    source: str
    """The source line, or the recipe that made it."""
    pinned: bool = False
    """The catalogue promised the hash. False: trusted on first use."""


class Manifest(Value):
    """What was pulled under a name."""

    name: str
    kind: str
    licence: str
    files: dict[str, StoredFile]
    pulled: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class ModelInfo(Value):
    """A line of `metier models list`."""

    name: str
    kind: str
    licence: str
    about: str = ""
    pulled: bool
    size: int = 0
    """Bytes on the disk; for models that are not here, bytes to download where the catalogue knows."""
    files: dict[str, StoredFile | FileSpec]
    """Role to file: as it lies here, or as the catalogue describes it."""


class ModelStore:
    """Find, pull, list and remove models. Safe to use from several processes."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or settings().home

    def find(self, name: str) -> LocalModel:
        """A model that is on this machine; `name` may also be the path of a .gguf file.

        Raises:
            ModelNotPulled: the catalogue knows it, but it is not here.
            UnknownModel: no such name.
            IntegrityError: a file of it is missing or cut short.
        """
        path = Path(name).expanduser()
        if path.suffix == ".gguf" and path.is_file():
            return LocalModel(name=path.stem, kind="base", licence="unknown", files={"gguf": path.resolve()})
        manifest = self._manifest(name)
        if manifest is None:
            self._entry(name)
            raise ModelNotPulled(name)
        files = {role: self._blob(file, role) for role, file in manifest.files.items()}
        for role, path in files.items():
            if not path.exists() or path.stat().st_size != manifest.files[role].size:
                raise IntegrityError(
                    f"model '{name}': {path} is missing or cut short", hint=f"metier models pull {name}"
                )
        hashes = {role: file.sha256 for role, file in manifest.files.items()}
        return LocalModel(manifest.name, manifest.kind, manifest.licence, files, hashes)

    def pull(self, name: str, progress: Progress = lambda what, done, total: None) -> LocalModel:
        """Bring a model here, or check the hashes of one that is here and mend it.

        Raises:
            UnknownModel: no such name in the catalogue.
            PullFailed: a source cannot be read, or the disk is full.
            IntegrityError: a file is not the promised one.
        """
        entry, folder = self._entry(name)
        self.home.mkdir(parents=True, exist_ok=True)
        with FileLock(self.home / ".pull.lock"):
            before = self._manifest(name)
            known = before.files if before else {}
            puller = Puller(self.home / "downloads", progress)
            files: dict[str, StoredFile] = {}
            for role, spec in entry.files.items():
                role = "original" if entry.prepare and role == "gguf" else role
                files[role] = self._pull_file(spec, folder, role, known.get(role), puller)
            if entry.prepare:
                files["gguf"] = self._prepare(files["original"], known.get("gguf"), progress)
            self._keep(Manifest(name=name, kind=entry.kind, licence=entry.licence, files=files), before)
        return self.find(name)

    def list(self) -> list[ModelInfo]:
        """Everything in the catalogue and everything that is here, by name."""
        entries = read_catalogue(self.home)
        here = {path.stem for path in (self.home / "models").glob("*.json")}
        return [self._info(name, entries.get(name, (None, None))[0]) for name in sorted({*entries, *here})]

    def remove(self, name: str) -> int:
        """Take a model off this machine; files that another model shares stay. Returns the bytes freed.

        Raises:
            ModelNotPulled, UnknownModel: there is nothing to remove.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with FileLock(self.home / ".pull.lock"):
            if self._manifest(name) is None:
                self._entry(name)
                raise ModelNotPulled(name)
            (self.home / "models" / f"{name}.json").unlink()
            return self._sweep()

    def _entry(self, name: str) -> tuple[Entry, Path]:
        entries = read_catalogue(self.home)
        if name not in entries:
            raise UnknownModel(
                unknown("model", name, entries),
                hint=f"metier models list; a model of your own takes four lines in {self.home / 'models.yaml'}",
            )
        return entries[name]

    def _manifest(self, name: str) -> Manifest | None:
        file = self.home / "models" / f"{name}.json"
        try:
            return Manifest.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None
        except (ValidationError, UnicodeDecodeError):
            raise IntegrityError(f"{file} is damaged", hint=f"delete it, then: metier models pull {name}") from None

    def _blob(self, file: StoredFile, role: str) -> Path:
        suffix = {"gguf": ".gguf", "original": ".gguf", "onnx": ".onnx", "tokenizer": ".json"}[role]
        return self.home / "blobs" / f"{file.sha256}{suffix}"

    def _pull_file(
        self, spec: FileSpec, folder: Path, role: str, known: StoredFile | None, puller: Puller
    ) -> StoredFile:
        if known and known.source != spec.source:
            known = None  # The catalogue's line was changed: what is here is another file.
        if known and not spec.sha256:
            spec = spec.model_copy(update={"sha256": known.sha256})
        if known and known.sha256 == spec.sha256 and self._is_whole(known, role):
            return known
        path, found = puller.pull(resolve(spec, folder), spec)
        pinned = spec.sha256 is not None and (known is None or known.pinned)
        return self._store(
            path, StoredFile(sha256=found, size=path.stat().st_size, source=spec.source, pinned=pinned), role
        )

    def _prepare(self, original: StoredFile, known: StoredFile | None, progress: Progress) -> StoredFile:
        recipe = f"{RECIPE} of {original.sha256}"
        if known and known.source == recipe and self._is_whole(known, "gguf"):
            return known
        progress("preparing Q4_0", 0, None)
        target = self.home / "downloads" / f"{original.sha256[:16]}-q4_0.gguf"
        try:
            to_q4_0(self._blob(original, "original"), target)
            made = StoredFile(sha256=sha256(target), size=target.stat().st_size, source=recipe)
            return self._store(target, made, "gguf")
        finally:
            target.unlink(missing_ok=True)

    def _is_whole(self, file: StoredFile, role: str) -> bool:
        path = self._blob(file, role)
        return path.is_file() and path.stat().st_size == file.size and sha256(path) == file.sha256

    def _store(self, path: Path, file: StoredFile, role: str) -> StoredFile:
        blob = self._blob(file, role)
        blob.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, blob)
        return file

    def _keep(self, manifest: Manifest, before: Manifest | None) -> None:
        if before and before.files == manifest.files and before.licence == manifest.licence:
            return
        write_atomic(self.home / "models" / f"{manifest.name}.json", manifest.model_dump_json(indent=2))
        self._sweep()

    def _sweep(self) -> int:
        """Delete blobs that no manifest names."""
        manifests = [self._manifest(path.stem) for path in (self.home / "models").glob("*.json")]
        used = {self._blob(file, role) for m in manifests if m for role, file in m.files.items()}
        freed = 0
        for path in (self.home / "blobs").glob("*"):
            if path not in used:
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _info(self, name: str, entry: Entry | None) -> ModelInfo:
        manifest = self._manifest(name)
        size: Callable[[dict], int] = lambda files: sum(file.size or 0 for file in files.values())
        about = entry.about if entry else "no longer in the catalogue"
        if manifest:
            return ModelInfo(
                name=name, kind=manifest.kind, licence=manifest.licence, about=about,
                pulled=True, size=size(manifest.files), files=dict(manifest.files),
            )  # fmt: skip
        assert entry is not None
        files: dict[str, StoredFile | FileSpec] = dict(entry.files)
        return ModelInfo(
            name=name, kind=entry.kind, licence=entry.licence, about=about,
            pulled=False, size=size(files), files=files,
        )  # fmt: skip
