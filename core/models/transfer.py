"""Bytes over HTTP, with resume. Knows nothing of packages or models."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from ..errors import PullFailed
from .indexes import redacted

Progress = Callable[[str, int, int | None], None]
"""Called with (what, bytes so far, bytes in all or None)."""

CHUNK = 1 << 16
"""Bytes between two reports; as many may have to be fetched again when a connection breaks."""
ATTEMPTS = 4
"""Tries in a row that bring nothing before giving up."""
TIMEOUT = (15, 60)
"""Seconds to connect, and between two packets."""


class NoRanges(Exception):
    """The server cannot send a part of a file."""


@dataclass(frozen=True)
class Download:
    """Bytes [start, stop) of a URL; the whole of it when both are left out."""

    url: str
    start: int = 0
    stop: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


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


def fetch(session: requests.Session, what: Download, part: Path, report: Callable[[int, int | None], None]) -> None:
    """Bring a download into `part`, going on from what `part` already holds.

    Raises:
        NoRanges: a piece was asked for and the server sends whole files only.
        PullFailed: no answer, an error status, or the connection broke again and again; `part` is kept for next time.
    """
    failure: Exception | None = None
    attempt = 0
    while attempt < ATTEMPTS:
        before = _size(part)
        try:
            if _fetch_once(session, what, part, report):
                return
            failure = None
        except requests.HTTPError as error:
            failure = error
            break
        except requests.RequestException as error:
            failure = error
        # Only attempts that brought nothing count: a slow, shaky line gets there in the end.
        attempt = 0 if _size(part) > before else attempt + 1
    raise PullFailed(
        f"could not download {redacted(what.url)}: {reason(failure)}; {_size(part) / 1e6:.1f} MB are kept",
        hint=_way_out(failure),
    )


def reason(error: Exception | None) -> str:
    """What went wrong, in plain words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server says {error.response.status_code} {error.response.reason}".rstrip()
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not answer"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted here (PIP_CERT or REQUESTS_CA_BUNDLE can name a CA bundle)"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error) if error else "the connection broke"


def _way_out(error: Exception | None) -> str:
    if (
        isinstance(error, requests.HTTPError)
        and error.response is not None
        and error.response.status_code in (401, 403)
    ):
        return "it wants a login: set HF_TOKEN (and accept the licence there), or put user and password into the URL"
    return "check the network or the configured package index; the same command goes on where it stopped"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _fetch_once(
    session: requests.Session, what: Download, part: Path, report: Callable[[int, int | None], None]
) -> bool:
    """One request. True when everything is there."""
    done, wanted = _size(part), None if what.stop is None else what.stop - what.start
    if wanted is not None and done >= wanted:
        os.truncate(part, wanted)
        return True
    headers = dict(what.headers)
    if what.start or wanted is not None or done:
        headers["Range"] = f"bytes={what.start + done}-{'' if what.stop is None else what.stop - 1}"
    with session.get(what.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable and wanted is None:
            # Nothing is left to send: all is here already, or what is here belongs to another file.
            complete = response.headers.get("Content-Range") == f"bytes */{done}"
            if not complete:
                part.unlink()
            return complete
        response.raise_for_status()
        partial = response.status_code == requests.codes.partial_content
        if not partial and (what.start or wanted is not None):
            raise NoRanges(what.url)
        done = done if partial else 0
        length = response.headers.get("Content-Length")
        total = wanted if wanted is not None else done + int(length) if length else None
        with part.open("ab" if partial else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                done += len(chunk)
                report(done, total)
    return total is None or done >= total


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
            if response.status_code != requests.codes.partial_content or not total.isdigit():
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

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        stop = min(self._place + len(buffer), self._size)
        if stop <= self._place:
            return 0
        data, _ = self._get(self._place, stop)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
