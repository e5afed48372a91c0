"""What an answer must look like, said once for every engine. An engine translates it (grammar, schema, enum)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OneOf:
    """Exactly one of these texts."""

    options: Sequence[str]


@dataclass(frozen=True)
class Json:
    """JSON that fits a JSON Schema."""

    schema: Mapping[str, Any]
    lenient: bool = False
    """Let pass what an engine cannot enforce of the schema; otherwise it refuses such a schema."""


@dataclass(frozen=True)
class Quote:
    """A run of whole words from one of the texts, or one of the alternatives.

    Engines that cannot enforce it leave the answer free; the caller verifies quotes in any case.
    """

    texts: Sequence[str]
    alternatives: Sequence[str] = ()


@dataclass(frozen=True)
class Select:
    """One short SELECT (`specialists/sql/short.py`) over these columns, each written `table.column`.

    Engines that cannot enforce it leave the answer free; what runs it refuses anything but reading.
    """

    columns: Sequence[str]


Constraint = OneOf | Json | Quote | Select
