"""How a specialist answers. A style is a function `Work -> Draft`; adding one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...core.plugins import load
from ..work import Draft, Work
from .act.style import act
from .free import free
from .json import json
from .label.style import label
from .quote import quote
from .sql.style import sql

Style = Callable[[Work], Draft]

_STYLES: dict[str, Style] = {"quote": quote, "free": free, "label": label, "json": json, "act": act, "sql": sql}


def find_style(name: str, folders: Sequence[Path] = ()) -> Style:
    """The style of that name, or the function `module:function`, of a package or of a file in one of `folders`.

    Raises:
        ConfigError: there is no such style.
    """
    return load(name, "style", _STYLES, field="style", folders=folders)
