"""The table of styles. Adding one is a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import Runnable

from ...core.errors import ConfigError
from ...core.plugins import load
from ..card import SpecialistCard
from ..work import Draft, Work
from .act.style import ACT
from .foreign import Queried, foreign_style
from .label.style import LABEL
from .quote import ANSWER, QUOTE
from .sql.style import SQL
from .style import Style
from .written import FREE, JSON

STYLES: dict[str, Style] = {style.name: style for style in (ANSWER, QUOTE, FREE, LABEL, JSON, ACT, SQL)}


def find_style(name: str, folders: Sequence[Path] = ()) -> Style:
    """The style of that name, or what `module:name` means, of an installed module or of a file in one of `folders`: a
    `Style`; or a function `Work -> Draft`, a LangChain Runnable or a query engine of llama-index, which are neither
    trained nor measured but as text.

    Raises:
        ConfigError: there is no such style.
    """
    style: Any = load(name, "style", STYLES, field="style", folders=folders)
    if isinstance(style, Style):
        return style
    if isinstance(style, Runnable | Queried):
        return foreign_style(name, style)
    if not callable(style):
        raise ConfigError(
            f"style '{name}' is neither a Style nor a function nor a Runnable: {style!r:.60}", field="style"
        )
    return Style(name, cast(Callable[[Work], Draft], style))


def check_card(card: SpecialistCard, folders: Sequence[Path] = ()) -> None:
    """Has the card what its style needs, and nothing that only other styles use?

    Raises:
        ConfigError: there is no such style; a field is missing, or does nothing.
    """
    style = find_style(card.style, folders)
    for needed in style.needs:
        if not getattr(card, needed) or (needed == "labels" and len(card.labels) < 2):
            raise ConfigError(f"style '{card.style}' needs {_NEEDED.get(needed, needed)}", field=needed)
    idle = {needed: other.name for other in STYLES.values() for needed in other.needs if needed not in style.needs}
    idle.pop("tools", None)  # workflows call the tools of every specialist, whatever its style
    for needed, other in idle.items():
        if getattr(card, needed):
            raise ConfigError(f"{needed} does nothing in style '{card.style}', only in '{other}'", field=needed)


_NEEDED = {"labels": "at least two labels", "output_schema": "an output_schema", "database": "a database"}
