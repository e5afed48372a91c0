"""Finding a wheel on the configured places. See `members.py` for taking a file out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from packaging.utils import canonicalize_name
from pypi_simple import NoSuchProjectError, ProjectPage, PyPISimple
from pypi_simple.errors import UnsupportedContentTypeError, UnsupportedRepoVersionError

from ..errors import PullFailed
from .indexes import Indexes, redacted
from .transfer import TIMEOUT, reason


@dataclass(frozen=True)
class Wheel:
    """A wheel on an index or on the disk."""

    filename: str
    url: str
    sha256: str | None
    """As the index promises."""

    @property
    def path(self) -> Path | None:
        """Where it lies, when it is on this machine."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None


def find_wheel(project: str, version: str, indexes: Indexes, session: requests.Session) -> Wheel:
    """The first wheel of exactly that version: find-links places first, then indexes, in their order.

    Raises:
        PullFailed: no place has it; the message names the places and what was wrong with each.
    """
    trouble: list[str] = []
    for place in (*indexes.find_links, *indexes.urls):
        try:
            for wheel, found in _wheels(project, place, place in indexes.urls, session):
                if found == version:
                    return wheel
            trouble.append(f"{redacted(place)}: has no wheel of that version")
        except (NoSuchProjectError, FileNotFoundError):
            trouble.append(f"{redacted(place)}: does not have it")
        except requests.RequestException as error:
            trouble.append(f"{redacted(place)}: {reason(error)}")
        except (UnsupportedContentTypeError, UnsupportedRepoVersionError, OSError) as error:
            trouble.append(f"{redacted(place)}: cannot be read ({error})")
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
