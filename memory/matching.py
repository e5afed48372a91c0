"""Which namespaces and values an operation on a store means, as LangGraph defines it for every store."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

from langgraph.store.base import ListNamespacesOp, MatchCondition

Namespace = tuple[str, ...]

_ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}


def fits(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Does a value pass a search's filter? Plain values must be equal; `{"$gte": 3}` and its like compare.

    Raises:
        ValueError: an operator that does not exist.
    """
    return all(_same(value.get(field), condition) for field, condition in (wanted or {}).items())


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(str(name).startswith("$") for name in wanted):
            return all(_compare(value, name, other) for name, other in wanted.items())
        return isinstance(value, Mapping) and all(_same(value.get(name), other) for name, other in wanted.items())
    if isinstance(wanted, list | tuple):
        alike = isinstance(value, list | tuple) and len(value) == len(wanted)
        return alike and all(_same(one, other) for one, other in zip(value, wanted, strict=True))
    return value == wanted


def _compare(value: Any, name: str, other: Any) -> bool:
    if name in ("$eq", "$ne"):
        return (value == other) is (name == "$eq")
    if name not in _ORDER:
        raise ValueError(f"unknown operator '{name}'; available: $eq, $ne, {', '.join(_ORDER)}")
    try:
        return bool(_ORDER[name](float(value), float(other)))
    except (TypeError, ValueError):  # a text or nothing at all is neither more nor less than a number
        return False


def listed(namespaces: Iterable[Namespace], op: ListNamespacesOp) -> list[Namespace]:
    """The namespaces that match, cut to the depth asked for, sorted, one page of them."""
    found = {ns[: op.max_depth] for ns in namespaces if all(_matches(c, ns) for c in op.match_conditions or ())}
    return sorted(found)[op.offset : op.offset + op.limit]


def _matches(condition: MatchCondition, namespace: Namespace) -> bool:
    path = condition.path
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(part, path, strict=True))
