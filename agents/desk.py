"""A specialist's database, as its card names it."""

from __future__ import annotations

import os

from ..specialists.sql.desk import Desk
from ..tools.context import ToolContext
from ..tools.sql import connect
from .blueprint import Blueprint, read_rows


def open_desk(plan: Blueprint, name: str) -> Desk | None:
    """The database of a specialist with its solved examples; None when its card names none.

    Raises:
        ConfigError: an example file is wrong, or the environment variable holds no address.
        ToolError: there is no such database, or it is outside the team's folder.
    """
    card, folder = plan.specialists[name], plan.folders[name]
    if card.database is None:
        return None
    rows = [row for entry in card.examples if entry.endswith(".jsonl") for row in read_rows(folder / entry)]
    solved = [(row["input"], row["sql"]) for row in rows if isinstance(row.get("sql"), str)]
    place = card.database if card.database.startswith("env:") else os.path.relpath(folder / card.database, plan.root)
    return Desk(place, connect(ToolContext(plan.root), place), solved)
