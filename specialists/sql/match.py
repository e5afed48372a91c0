"""Do two queries give the same answer? The measure that the field calls execution match."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .database import Table


def same_rows(found: Table, truth: Table, *, ordered: bool) -> bool:
    """Whether two results hold the same rows; columns by position, numbers to nine digits.

    Args:
        ordered: The order of rows counts.
    """
    a, b = ([tuple(map(_plain, row)) for row in table.rows] for table in (found, truth))
    return a == b if ordered else Counter(a) == Counter(b)


def _plain(value: Any) -> Any:
    """A number as a rounded one: sums of floats differ with the order of rows."""
    return float(f"{value:.9g}") if isinstance(value, (int, float)) else value
