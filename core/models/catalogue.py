"""What can be pulled: the built-in catalogue, then the user's own (`METIER_HOME/models.yaml`), which wins.

Adding a base of one's own takes four lines:

    my-base:
      kind: base
      licence: Apache-2.0
      files: {gguf: "hf:owner/repository/model-Q4_0.gguf"}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from ..errors import ConfigError
from .source import Source, parse_source

BUILT_IN = Path(__file__).with_name("catalogue.yaml")


class FileSpec(BaseModel):
    """One file of a model. In YAML the source line alone will do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    """See `core/models/source.py`."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Promised hash. Without one, the hash of the first pull is recorded and holds from then on."""
    size: int | None = Field(default=None, gt=0)
    """Bytes."""

    @model_validator(mode="before")
    @classmethod
    def _source_alone(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _source_is_known(self) -> FileSpec:
        try:
            parse_source(self.source)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self


class Entry(BaseModel):
    """One model of the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["base", "embedder"]
    licence: str
    """SPDX identifier, or the licence's own name."""
    files: dict[Literal["gguf", "onnx", "tokenizer"], FileSpec]
    about: str = ""
    prepare: Literal["q4_0"] | None = None
    """Re-quantise the GGUF once after the download; see `core/models/quantise.py`."""

    @model_validator(mode="after")
    def _has_its_files(self) -> Entry:
        needed = {"gguf"} if self.kind == "base" else {"onnx", "tokenizer"}
        if set(self.files) != needed:
            raise ValueError(f"kind '{self.kind}' needs exactly these files: {', '.join(sorted(needed))}")
        return self


def read_catalogue(home: Path) -> dict[str, tuple[Entry, Path]]:
    """Name to entry, and the folder that its relative `file:` sources start from.

    Raises:
        ConfigError: the user's catalogue cannot be read; names file, line and field.
    """
    found: dict[str, tuple[Entry, Path]] = {}
    for file in (BUILT_IN, home / "models.yaml"):
        if file.exists():
            found |= {name: (entry, file.parent) for name, entry in _read(file).items()}
    return found


def resolve(spec: FileSpec, folder: Path) -> Source:
    """The source of a file, with relative paths made whole."""
    return parse_source(spec.source, folder)


def _read(file: Path) -> dict[str, Entry]:
    try:
        data = YAML(typ="rt").load(file.read_text(encoding="utf-8")) or {}
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"not YAML: {error.problem}", file=file, line=line) from None
    if not isinstance(data, dict):
        raise ConfigError("expected 'name: {kind, licence, files}' entries", file=file, line=1)
    entries: dict[str, Entry] = {}
    for name, value in data.items():
        try:
            entries[str(name)] = Entry.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            path = [name, *first["loc"]]
            message = first["msg"].removeprefix("Value error, ")
            raise ConfigError(
                message, file=file, line=_line(data, path), field=".".join(str(part) for part in path)
            ) from None
    return entries


def _line(data: Any, path: list[Any]) -> int | None:
    """The line of the deepest part of `path` that is in the file."""
    line = None
    for key in path:
        if not (isinstance(data, dict) and key in data and hasattr(data, "lc")):
            break
        line = data.lc.key(key)[0] + 1
        data = data[key]
    return line
