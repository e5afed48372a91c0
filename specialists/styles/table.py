"""The table of styles. Adding one is a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from ...core.errors import ConfigError, unknown
from ..card import SpecialistCard
from ..work import Draft, Work
from .act.style import ACT
from .label.style import LABEL
from .quote import QUOTE
from .sql.style import SQL
from .style import Style
from .written import FREE, JSON

STYLES: dict[str, Style] = {style.name: style for style in (QUOTE, FREE, LABEL, JSON, ACT, SQL)}


def find_style(name: str) -> Style:
    """The style of that name, or what stands at the dotted path `package.module:name`: a `Style`, or a function
    `Work -> Draft`, which is then neither trained nor measured but as text.

    Raises:
        ConfigError: there is no such style.
    """
    if name in STYLES:
        return STYLES[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigError(
            unknown("style", name, STYLES), field="style", hint="or name one of yours: package.module:STYLE"
        )
    try:
        style: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"style '{name}' cannot be imported: {error}", field="style") from error
    if isinstance(style, Style):
        return style
    if not callable(style):
        raise ConfigError(f"style '{name}' is neither a Style nor a function: {style!r:.60}", field="style")
    return Style(name, cast(Callable[[Work], Draft], style))


def check_card(card: SpecialistCard) -> None:
    """Has the card what its style needs, and nothing that only other styles use?

    Raises:
        ConfigError: there is no such style; a field is missing, or does nothing.
    """
    style = find_style(card.style)
    for needed in style.needs:
        if not getattr(card, needed) or (needed == "labels" and len(card.labels) < 2):
            raise ConfigError(f"style '{card.style}' needs {_named(needed)}", field=needed)
    idle = {needed: other.name for other in STYLES.values() for needed in other.needs if needed not in style.needs}
    for needed, other in idle.items():
        if getattr(card, needed):
            raise ConfigError(f"{needed} does nothing in style '{card.style}', only in '{other}'", field=needed)


def _named(needed: str) -> str:
    return {"labels": "at least two labels", "output_schema": "an output_schema", "database": "a database"}.get(
        needed, needed
    )
