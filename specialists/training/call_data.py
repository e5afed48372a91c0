"""Tasks with functions, and the calls that are right: what the skill `call` learns from and is scored on (BFCL).

Rows are split by the function that is asked for, so that figures are about functions that were never seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .sets import Row, kept_aside, read_rows

SET = "tools_bfcl"

Part = Literal["learn", "check", "score"]

_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_KEPT = ("type", "description", "enum", "minItems", "maxItems")

LEFT_OUT = ""
"""Among the accepted values of an argument: it may be left out."""


@dataclass(frozen=True)
class Asked:
    """A task and the functions that are offered for it."""

    id: str
    group: str
    """The function that is asked for, or those that do not fit: what a split must not cut through."""
    task: str
    functions: tuple[dict[str, Any], ...]
    name: str = ""
    """The function to call; empty when none fits."""
    accepted: Mapping[str, list[Any]] | None = None
    """Argument to all values that count as right."""

    @property
    def function(self) -> dict[str, Any]:
        """The one to call."""
        return next(f for f in self.functions if f["name"] == self.name)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments to learn, in the order of the schema: of several right values the one that the task says;
        what may be left out is left out unless the task says it."""
        parameters = self.function["parameters"]
        chosen: dict[str, Any] = {}
        for name in parameters["properties"]:
            values = (self.accepted or {}).get(name, [LEFT_OUT])
            stated = [v for v in values if v != LEFT_OUT]
            said = [v for v in stated if isinstance(v, str | int | float) and _says(self.task, v)]
            if said or (stated and (LEFT_OUT not in values or name in parameters.get("required", ()))):
                chosen[name] = _plain((said or stated)[0])
        return chosen


def read_asked(folder: Path) -> list[Asked]:
    """All rows of the set; none when it is absent."""
    return [_asked(row) for row in read_rows(folder, SET)]


def part(asked: Asked) -> Part:
    """What a row is for: learning (75 %), early stopping and fitting the decision (10 %), or figures only (15 %)."""
    group = f"{SET}/{asked.group}"
    return "score" if kept_aside(group) else "check" if kept_aside(group, 0.25) else "learn"


def learnable(asked: list[Asked]) -> Iterator[Asked]:
    """The rows for learning, without the functions that the other rows ask for."""
    hidden = {a.name for a in asked if part(a) != "learn"}
    for one in asked:
        shown = tuple(f for f in one.functions if f["name"] not in hidden)
        if part(one) == "learn" and shown:
            yield Asked(one.id, one.group, one.task, shown, one.name, one.accepted)


def json_schema(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema of what the set writes with Python's type names; `any` says nothing."""
    schema = {key: spec[key] for key in _KEPT if key in spec}
    if "type" in schema:
        schema["type"] = _TYPES.get(schema["type"], schema["type"])
    if schema.get("type") == "any":
        del schema["type"]
    if "properties" in spec:
        schema["properties"] = {name: json_schema(inner) for name, inner in spec["properties"].items()}
        schema["required"] = [name for name in spec.get("required", []) if name in spec["properties"]]
    if "items" in spec:
        schema["items"] = json_schema(spec["items"])
    return schema


def _asked(row: Row) -> Asked:
    functions = tuple({**f, "parameters": json_schema(f["parameters"])} for f in row["tools"])
    name, accepted = next(iter(row["answer"][0].items())) if row["answer"] else ("", None)
    return Asked(row["id"], row["meta"]["gold_fn"], row["input"], functions, name, accepted)


def _plain(value: Any) -> Any:
    """One value out of the accepted ones: inside objects each field lists its own."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if not isinstance(value, dict):
        return value
    stated = {k: [v for v in vs if v != LEFT_OUT] if isinstance(vs, list) else [vs] for k, vs in value.items()}
    return {k: _plain(vs[0]) for k, vs in stated.items() if vs}


def _says(task: str, value: Any) -> bool:
    return not isinstance(value, bool) and str(value).strip() != "" and str(value).lower() in task.lower()
