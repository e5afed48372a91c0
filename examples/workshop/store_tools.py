"""The workshop's store: what is there, who supplies it, and the book of orders."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from langchain_core.tools import BaseTool, InjectedToolArg

from metier.core.errors import ToolError, unknown
from metier.tools.tool import ToolContext, tool

_MOST = 500
"""Pieces in one order; more is a slip of the pen."""
_BOOK = """
CREATE TABLE IF NOT EXISTS orders (
  number INTEGER PRIMARY KEY, key TEXT UNIQUE, ordered TEXT, part_number TEXT, quantity INTEGER, supplier TEXT,
  total_gbp REAL
)
"""


def store(context: ToolContext, folder: str = "store") -> list[BaseTool]:
    """`find_part` and `find_supplier` read, `order_part` writes into `orders.sqlite` in the same folder.

    Args:
        folder: beside team.yaml; holds `parts.csv` and `suppliers.csv`.
    """
    place = (context.team or context.root) / folder

    @tool(effect="read", untrusted_output=False, sensitive=False)
    def find_part(words: str) -> list[dict[str, Any]]:
        """Look a part up in the store: its number, stock on hand, minimum, supplier and price.

        Args:
            words: the part's number, or words of its description.
        """
        wanted = words.lower().split()
        found = [row for row in _rows(place / "parts.csv") if all(word in _described(row) for word in wanted)]
        if not found:
            raise ToolError(f"no part '{words}' in the store", hint="use its number, as K-101, or fewer words")
        return found[:5]

    @tool(effect="read", untrusted_output=False, sensitive=False)
    def find_supplier(part_number: str) -> dict[str, Any]:
        """Who supplies a part, whom to ask there, and the smallest order that they take.

        Args:
            part_number: as K-101.
        """
        name = _part(place, part_number)["supplier"]
        return next(row for row in _rows(place / "suppliers.csv") if row["supplier"] == name)

    @tool(effect="write", untrusted_output=False, sensitive=False)
    def order_part(part_number: str, quantity: int, idempotency_key: Annotated[str, InjectedToolArg]) -> dict[str, Any]:
        """Order a part from its supplier: writes the order into the book of orders.

        Args:
            part_number: as K-101.
            quantity: how many.
        """
        if not 1 <= quantity <= _MOST:
            raise ToolError(f"an order of {quantity}", hint=f"order 1 to {_MOST}")
        part = _part(place, part_number)
        total = round(quantity * float(part["price_gbp"]), 2)
        today = datetime.now(UTC).date().isoformat()
        values = (idempotency_key, today, part["part_number"], quantity, part["supplier"], total)
        # A call that is made again after a crash has the same key, and the order stands there once.
        with closing(sqlite3.connect(place / "orders.sqlite")) as book, book:
            book.execute(_BOOK)
            columns = "key, ordered, part_number, quantity, supplier, total_gbp"
            book.execute(f"INSERT OR IGNORE INTO orders ({columns}) VALUES (?, ?, ?, ?, ?, ?)", values)
            (number,) = book.execute("SELECT number FROM orders WHERE key = ?", (idempotency_key,)).fetchone()
        return {
            "order": number, "part_number": part["part_number"], "description": part["description"],
            "quantity": quantity, "supplier": part["supplier"], "total_gbp": total,
        }  # fmt: skip

    return [find_part, find_supplier, order_part]


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _described(row: dict[str, Any]) -> str:
    return " ".join(row.values()).lower()


def _part(place: Path, number: str) -> dict[str, Any]:
    parts = {row["part_number"]: row for row in _rows(place / "parts.csv")}
    if number.upper() not in parts:
        raise ToolError(unknown("part", number, parts), hint="find_part tells the numbers")
    return parts[number.upper()]
