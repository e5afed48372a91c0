"""The cache of models under METIER_HOME, addressed by content.

models/NAME.json         what was pulled: sources, hashes, licence, recipe
blobs/SHA256.gguf        the files; one that two models share is there once
downloads/               parts of unfinished files, gone on with by the next pull
models.yaml              the user's catalogue
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from ..errors import IntegrityError, ModelNotPulled, UnknownModel, unknown
from ..files import sha256, write_atomic
from ..run import Progress, no_progress
from ..settings import settings
from ..types import Value
from .catalogue import Entry, FileSpec, read_catalogue
from .gguf import RECIPE_VERSION, requantise
from .pull import Puller, enough_room

_SUFFIX = {
    "gguf": ".gguf",
    "original": ".gguf",
    "onnx": ".onnx",
    "tokenizer": ".json",
    "e5": ".e5",
}  # Of a role's file.


@dataclass(frozen=True)
class LocalModel:
    """A model whose files are here: only paths and names, nothing is loaded.

    `files` maps a role to a path: a base has `gguf` (what engines load) and, where that was re-quantised, `original`
    (the file as published); an embedder has `onnx` and `tokenizer`, or `e5`.
    """

    name: str
    kind: str
    """`base` or `embedder`."""
    licence: str
    files: dict[str, Path]
    hashes: dict[str, str] = field(default_factory=dict)
    """Role to SHA-256, as recorded when the file was pulled."""

    def sha256(self, role: str) -> str:
        """The file's hash: recorded for pulled models, computed for a plain path."""
        return self.hashes.get(role) or sha256(self.files[role])


class StoredFile(Value):
    """A file in the cache."""

    sha256: str
    size: int
    """Bytes."""
    source: str
    """The source line, or the recipe that made it and the hash of what it was made from."""
    trust: Literal["promised", "first-use", "derived"]
    """Why the hash is believed: the catalogue promised it; it is that of the first pull; it was made here."""


class ModelRecord(Value):
    """What was pulled under a name, as `models/NAME.json` holds it."""

    name: str
    kind: str
    licence: str
    files: dict[str, StoredFile]
    pulled: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """When, in UTC."""


class ModelInfo(Value):
    """A line of `metier models list`."""

    name: str
    kind: str
    licence: str
    about: str = ""
    tier: str | None = None
    """Of a base: `tiny`, `default` or `large`."""
    pulled: bool
    size: int
    """Bytes on the disk; for a model that is not here, to download, as far as the catalogue knows."""
    files: dict[str, StoredFile | FileSpec]
    """Role to file: as it lies here, or as the catalogue describes it."""

    @property
    def sources(self) -> list[str]:
        """Where its files come from, without those that were made here."""
        return [file.source for file in self.files.values() if getattr(file, "trust", "") != "derived"]


class ModelStore:
    """Find, pull, list and remove models. Safe to use from several processes."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or settings().home

    def find(self, name: str) -> LocalModel:
        """A model that is on this machine; `name` may also be the path of a .gguf file.

        Raises:
            ModelNotPulled: the catalogue knows it, but it is not here.
            UnknownModel: no such name, or no such file.
            IntegrityError: a file of it is missing or cut short.
        """
        path = Path(name).expanduser()
        if path.suffix == ".gguf":
            if not path.is_file():
                raise UnknownModel(f"there is no file {path}", hint="a model's name works as well: metier models list")
            return LocalModel(name=path.stem, kind="base", licence="unknown", files={"gguf": path.resolve()})
        record = self._record(name)
        if record is None:
            self._entry(name)
            raise ModelNotPulled(name)
        files = {role: self._blob(file.sha256, role) for role, file in record.files.items()}
        for role, path in files.items():
            if not path.exists() or path.stat().st_size != record.files[role].size:
                raise IntegrityError(
                    f"model '{name}': {path} is missing or cut short", hint=f"metier models pull {name}"
                )
        hashes = {role: file.sha256 for role, file in record.files.items()}
        return LocalModel(record.name, record.kind, record.licence, files, hashes)

    def pull(self, name: str, progress: Progress = no_progress) -> LocalModel:
        """Bring a model here; check the hashes of one that is here already, and mend it.

        Raises:
            UnknownModel: no such name in the catalogue.
            PullFailed: a source cannot be read, or the disk is full.
            IntegrityError: a file is not the promised one.
        """
        entry, folder = self._entry(name)
        with enough_room(self.home), self._locked(progress):
            before = self._readable_record(name)
            known = before.files if before else {}
            puller = Puller(self.home / "downloads", progress)
            files: dict[str, StoredFile] = {}
            for file, spec in entry.files.items():
                role = "original" if entry.prepare else file
                files[role] = self._pull_file(spec, folder, role, known.get(role), puller, f"{name} {file}")
            if entry.prepare:
                files["gguf"] = self._prepare(entry.prepare, files["original"], known.get("gguf"), progress)
            record = ModelRecord(name=name, kind=entry.kind, licence=entry.licence, files=files)
            if before is None or before.model_copy(update={"pulled": record.pulled}) != record:
                write_atomic(self._record_file(name), record.model_dump_json(indent=2))
                self._sweep()
        return self.find(name)

    def list(self) -> list[ModelInfo]:
        """Everything in the catalogue and everything that is here, by name."""
        entries = read_catalogue(self.home)
        here = {path.stem for path in (self.home / "models").glob("*.json")}
        return [self._info(name, entries[name][0] if name in entries else None) for name in sorted({*entries, *here})]

    def remove(self, name: str) -> int:
        """Take a model off this machine; files that another model shares stay. Returns the bytes freed.

        Raises:
            ModelNotPulled, UnknownModel: there is nothing to remove.
        """
        if not self._record_file(name).is_file():
            self._entry(name)
            raise ModelNotPulled(name)
        with self._locked(no_progress):
            self._record_file(name).unlink(missing_ok=True)
            return self._sweep()

    def _entry(self, name: str) -> tuple[Entry, Path]:
        entries = read_catalogue(self.home)
        if name not in entries:
            own = self.home / "models.yaml"
            raise UnknownModel(unknown("model", name, entries), hint=f"a model of your own takes four lines in {own}")
        return entries[name]

    @contextmanager
    def _locked(self, progress: Progress) -> Iterator[None]:
        """One pull at a time, over all processes: two of the same model would do the work twice."""
        self.home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.home / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress("waiting for another pull", 0, 0)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _record_file(self, name: str) -> Path:
        return self.home / "models" / f"{Path(name).name}.json"

    def _record(self, name: str) -> ModelRecord | None:
        file = self._record_file(name)
        try:
            return ModelRecord.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None
        except (ValidationError, UnicodeDecodeError):
            raise IntegrityError(f"{file} is damaged", hint=f"metier models pull {name}") from None

    def _readable_record(self, name: str) -> ModelRecord | None:
        try:
            return self._record(name)
        except IntegrityError:
            return None

    def _blob(self, digest: str, role: str) -> Path:
        return self.home / "blobs" / f"{digest}{_SUFFIX[role]}"

    def _is_whole(self, digest: str, role: str) -> bool:
        blob = self._blob(digest, role)
        return blob.is_file() and sha256(blob) == digest

    def _pull_file(
        self, spec: FileSpec, folder: Path, role: str, known: StoredFile | None, puller: Puller, what: str
    ) -> StoredFile:
        if known and known.source == spec.source and not spec.sha256:
            spec = spec.model_copy(update={"sha256": known.sha256})
            trust = "first-use"
        else:
            trust = "promised" if spec.sha256 else "first-use"
        digest = spec.sha256
        if digest is None or not self._is_whole(digest, role):
            path, digest = puller.pull(spec, folder, what)
            self._keep(path, digest, role)
        size = self._blob(digest, role).stat().st_size
        return StoredFile(sha256=digest, size=size, source=spec.source, trust=trust)

    def _prepare(self, recipe: str, original: StoredFile, known: StoredFile | None, progress: Progress) -> StoredFile:
        source = f"{recipe}/{RECIPE_VERSION} of {original.sha256}"
        if known and known.source == source and self._is_whole(known.sha256, "gguf"):
            return known
        target = self.home / "downloads" / f"{original.sha256[:16]}-{recipe}.gguf"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            blob = self._blob(original.sha256, "original")
            requantise(blob, target, recipe, progress)
            made = StoredFile(sha256=sha256(target), size=target.stat().st_size, source=source, trust="derived")
            self._keep(target, made.sha256, "gguf")
        finally:
            target.unlink(missing_ok=True)
        return made

    def _keep(self, path: Path, digest: str, role: str) -> None:
        blob = self._blob(digest, role)
        blob.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, blob)

    def _sweep(self) -> int:
        """Delete blobs that no record names; returns the bytes freed."""
        records = [self._readable_record(path.stem) for path in (self.home / "models").glob("*.json")]
        if None in records:
            return 0  # What a damaged description needs is unknown, so nothing is safe to delete.
        used = {self._blob(file.sha256, role) for record in records if record for role, file in record.files.items()}
        unused = [path for path in (self.home / "blobs").glob("*") if path not in used]
        freed = sum(path.stat().st_size for path in unused)
        for path in unused:
            path.unlink()
        return freed

    def _info(self, name: str, entry: Entry | None) -> ModelInfo:
        about = entry.about if entry else "no longer in the catalogue"
        described = self._readable_record(name) or entry
        if described is None:
            raise IntegrityError(f"{self._record_file(name)} is damaged", hint="delete it")
        return ModelInfo(
            name=name,
            kind=described.kind,
            licence=described.licence,
            about=about,
            tier=entry.tier if entry else None,
            pulled=isinstance(described, ModelRecord),
            size=sum(file.size or 0 for file in described.files.values()),
            files={str(role): file for role, file in described.files.items()},
        )
