"""Bytes over HTTP, with resume. Knows nothing of packages or models."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from ..errors import PullFailed
from .indexes import redacted

Progress = Callable[[str, int, int | None], None]
"""Called with (what, bytes so far, bytes in all or None)."""

CHUNK = 1 << 18
ATTEMPTS = 4
TIMEOUT = (15, 60)
"""Seconds to connect, and between two packets."""


class NoRanges(Exception):
    """The server cannot send a part of a file."""


def open_session(certificate: str | None = None) -> requests.Session:
    """A session that honours proxies, .netrc and REQUESTS_CA_BUNDLE from the environment."""
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"
    if certificate:
        session.verify = certificate
    retry = Retry(total=2, backoff_factor=0.3, status_forcelist=(429, 502, 503, 504), raise_on_status=False)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def fetch(
    session: requests.Session,
    url: str,
    part: Path,
    *,
    start: int = 0,
    stop: int | None = None,
    report: Callable[[int, int | None], None],
) -> None:
    """Bring bytes [start, stop) of `url` into `part`, going on from what `part` already holds.

    Raises:
        NoRanges: a piece was asked for and the server sends whole files only.
        PullFailed: no answer, an error status, or the connection broke again and again; `part` is kept for next time.
    """
    failure: Exception | None = None
    attempt = 0
    while attempt < ATTEMPTS:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _fetch_once(session, url, part, start, stop, report):
                return
            failure = None
        except requests.RequestException as error:
            failure = error
        # Only attempts that brought nothing count: a slow, shaky line gets there in the end.
        grew = part.exists() and part.stat().st_size > before
        attempt = 0 if grew else attempt + 1
    kept = part.stat().st_size if part.exists() else 0
    raise PullFailed(
        f"could not download {redacted(url)}: {_reason(failure)}; {kept / 1e6:.1f} MB are kept",
        hint="check the network or the configured package index; the same command goes on where it stopped",
    )


def _fetch_once(
    session: requests.Session,
    url: str,
    part: Path,
    start: int,
    stop: int | None,
    report: Callable[[int, int | None], None],
) -> bool:
    """One request. True when everything is there."""
    done = part.stat().st_size if part.exists() else 0
    if stop is not None and done >= stop - start:
        os.truncate(part, stop - start)
        return True
    ranged = start > 0 or stop is not None or done > 0
    headers = {"Range": f"bytes={start + done}-{'' if stop is None else stop - 1}"} if ranged else {}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416 and stop is None:
            part.unlink()  # What is kept is longer than the file, or exactly as long: begin anew.
            return False
        response.raise_for_status()
        whole = response.status_code != 206
        if whole and (start or stop is not None):
            raise NoRanges(url)
        if whole:
            done = 0
        length = response.headers.get("Content-Length")
        total = stop - start if stop is not None else done + int(length) if length else None
        with part.open("wb" if whole else "ab") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                done += len(chunk)
                report(done, total)
    return total is None or done >= total


def _reason(error: Exception | None) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server says {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not answer"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted here (PIP_CERT or REQUESTS_CA_BUNDLE names a CA bundle)"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return str(error) if error else "the connection broke"


class RangeReader(io.RawIOBase):
    """A remote file that can be read at any place; wrap it in `io.BufferedReader`.

    Raises:
        NoRanges: the server sends whole files only.
        requests.RequestException: it does not answer.
    """

    def __init__(self, session: requests.Session, url: str) -> None:
        self._session, self._url = session, url
        self._place = 0
        self._size = self._get(0, 1)[1]

    def _get(self, start: int, stop: int) -> tuple[bytes, int]:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        with self._session.get(self._url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            response.raise_for_status()
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            if response.status_code != 206 or not total.isdigit():
                raise NoRanges(self._url)
            return response.content, int(total)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        stop = min(self._place + len(buffer), self._size)
        if stop <= self._place:
            return 0
        data, _ = self._get(self._place, stop)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def discard(*paths: Path) -> None:
    """Remove files that may or may not be there."""
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
