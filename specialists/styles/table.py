"""How a specialist answers. A style is a function `Work -> Draft`; adding one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ...core.errors import ConfigError, unknown
from ..work import Draft, Work
from .act.style import act
from .free import free
from .json import json
from .label.style import label
from .quote import quote
from .sql.style import sql

Style = Callable[[Work], Draft]

_STYLES: dict[str, Style] = {"quote": quote, "free": free, "label": label, "json": json, "act": act, "sql": sql}


def find_style(name: str) -> Style:
    """The style of that name, or the function at the dotted path `package.module:function`.

    Raises:
        ConfigError: there is no such style.
    """
    if name in _STYLES:
        return _STYLES[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise ConfigError(unknown("style", name, _STYLES), hint="or name a function: package.module:function")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"style '{name}' cannot be imported: {error}") from error
