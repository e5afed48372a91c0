"""Addresses of databases in a card, which may stand in a variable so that no password stands in the card."""

from __future__ import annotations

import os

from ..core.errors import ConfigError

POSTGRES = ("postgresql://", "postgres://")
"""How an address of PostgreSQL begins."""


def address(kind: str, field: str) -> str:
    """The address itself; `env:NAME` reads it from a variable.

    Raises:
        ConfigError: the variable is not set; names the card's field.
    """
    if not kind.startswith("env:"):
        return kind
    name = kind.removeprefix("env:")
    if not os.environ.get(name):
        raise ConfigError(f"the variable {name} is not set", field=field, hint=f"export {name}=…")
    return os.environ[name]
