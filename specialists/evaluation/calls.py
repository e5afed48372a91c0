"""Is it the call that was wanted? Compared by its parts, as the Berkeley Function Calling Leaderboard does.

Source: Patil et al., "The Berkeley Function Calling Leaderboard", ICML 2025 (AST evaluation).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.types import ToolCall

_LOOSE = re.compile(r"[\s,./\-_*^'\"]")
_OMITTED = ""
"""Among the allowed values: the argument may be left out."""


def calls_match(made: Sequence[ToolCall], wanted: Any) -> bool:
    """Whether exactly the wanted calls were made, in any order.

    Args:
        wanted: One call or a list of them, each `{"name": …, "arguments": {…}}` with the values that are right, or
            `{NAME: {ARGUMENT: [right values]}}` as in the leaderboard's files, where "" means "may be left out".
    """
    left = list(made)
    for call in wanted if isinstance(wanted, list) else [wanted]:
        found = next((m for m in left if _same(m, call)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def _same(made: ToolCall, wanted: Mapping[str, Any]) -> bool:
    if "arguments" in wanted and "name" in wanted:
        name, allowed = wanted["name"], {key: [value] for key, value in wanted["arguments"].items()}
    else:
        name, allowed = next(iter(wanted.items()))
    return made.name == name and _fits_all(made.arguments, allowed)


def _fits_all(given: Mapping[str, Any], allowed: Mapping[str, Any]) -> bool:
    """Nothing that was not asked for, and all that may not be left out."""
    if set(given) - set(allowed):
        return False
    return all(
        any(_fits(given[key], value) for value in values) if key in given else _OMITTED in values
        for key, values in ((k, v if isinstance(v, list) else [v]) for k, v in allowed.items())
    )


def _fits(given: Any, right: Any) -> bool:
    """Numbers by their value, texts without regard to case, space and punctuation, the rest by their parts."""
    if isinstance(given, bool) or isinstance(right, bool):
        return given is right
    if isinstance(given, int | float) and isinstance(right, int | float):
        return float(given) == float(right)
    if isinstance(given, str) and isinstance(right, str):
        return _LOOSE.sub("", given).lower() == _LOOSE.sub("", right).lower()
    if isinstance(given, list) and isinstance(right, list):
        return len(given) == len(right) and all(map(_fits, given, right))
    if isinstance(given, dict) and isinstance(right, dict):
        exact = set(given) == set(right) and all(_fits(given[k], right[k]) for k in given)
        return exact or _fits_all(given, right)
    return given == right


def objects_match(text: str, wanted: Any) -> tuple[bool, float]:
    """Whether a JSON text is the wanted object, and the share of the wanted object's fields that it has right."""
    try:
        given = json.loads(text)
        right = json.loads(wanted) if isinstance(wanted, str) else wanted
    except ValueError:
        return False, 0.0
    if not isinstance(given, dict) or not isinstance(right, dict) or not right:
        return given == right, float(given == right)
    fields = [key in given and _fits(given[key], value) for key, value in right.items()]
    return all(fields) and set(given) == set(right), sum(fields) / len(fields)
