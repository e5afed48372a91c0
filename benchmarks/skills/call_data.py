"""Tasks with functions, and the calls that are right: what the skill `call` learns from and is scored on (BFCL).

Rows are split by the function that is asked for, so that figures are about functions that were never seen.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from metier.benchmarks.skills.call_near import Pool, does_another_thing
from metier.benchmarks.skills.skill import Row, kept_aside, read_rows

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


def kept_aside_names(asked: Sequence[Asked]) -> frozenset[str]:
    """The functions that rows ask for which are not learnt: no prompt that is learnt may show them."""
    return frozenset(a.name for a in asked if a.name and part(a) != "learn")


def learnable(asked: list[Asked]) -> Iterator[Asked]:
    """The rows for learning, without the functions that the other rows ask for."""
    hidden = kept_aside_names(asked)
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


# Variations of a task with functions, so that the skill `call` learns to read functions rather than to know them.

_NUMBER = re.compile(r"(?<![\w.,/:-])\d+(?:\.\d+)?(?![\w,/:-]|\.\d)")

_YEARS = range(1900, 2100)


@dataclass
class Variations:
    """Makes new rows out of given ones; all chance comes from `dice`."""

    rows: Sequence[Asked]
    dice: random.Random

    def other_values(self, asked: Asked) -> Asked:
        """The same request with other numbers and names, in the task and in the call alike."""
        task, accepted = asked.task, dict(asked.accepted or {})
        properties = asked.function["parameters"]["properties"]
        for name, value in asked.arguments.items():
            new = self._other(name, value, properties.get(name, {}), task)
            if new is not None:
                task = re.sub(rf"(?<!\w){re.escape(str(value))}(?!\w)", lambda _, new=new: str(new), task)
                accepted[name] = [new]
        return replace(asked, task=task, accepted=accepted)

    def other_names(self, asked: Asked) -> Asked:
        """The functions under names in another style, and without some of the arguments that are not needed."""
        style = self.dice.choice((camel, _snake, _last))
        renamed = {f["name"]: style(f["name"]) for f in asked.functions}
        if len(set(renamed.values())) < len(renamed):
            renamed = {name: name for name in renamed}
        needed = set(asked.arguments) if asked.name else set()
        functions = tuple(self._fewer({**f, "name": renamed[f["name"]]}, needed) for f in asked.functions)
        return replace(asked, functions=functions, name=renamed.get(asked.name, ""))

    def among(self, asked: Asked, most: int) -> Asked:
        """In any order, at times with functions of other rows, at most `most`."""
        shown = list(asked.functions)
        if len(shown) < most and self.dice.random() < 0.4:
            shown += [f for f in self._strangers(asked) if f["name"] not in {g["name"] for g in shown}]
        self.dice.shuffle(shown)
        shown.sort(key=lambda f: f["name"] != asked.name)
        kept = shown[:most]
        self.dice.shuffle(kept)
        return replace(asked, functions=tuple(kept))

    def without(self, asked: Asked, most: int) -> Asked | None:
        """The function that fits is not there: its neighbours are, or functions of other rows; None without any."""
        left = [f for f in asked.functions if does_another_thing(f, asked.function, asked.task)]
        if not left or self.dice.random() < 0.3:
            left = [*self._strangers(asked), *left]
        shown = tuple({f["name"]: f for f in left}.values())[:most]
        return replace(asked, functions=shown, name="", accepted=None) if shown else None

    def _strangers(self, asked: Asked) -> list[dict[str, Any]]:
        """A function of another row that does another thing than the one that is asked for, any or one near it; none
        where there is no such function."""
        some = self.dice.sample(self._pool.functions, min(30, len(self._pool.functions)))
        if not asked.name:
            return [self._unlike(asked, some)]
        near = [*self._pool.near(asked.function, asked.task, self.dice)][:6]
        if near and self.dice.random() < 0.6:
            return [self.dice.choice(near)]
        return [f for f in some if does_another_thing(f, asked.function, asked.task)][:1]

    def _unlike(self, asked: Asked, some: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The one that shares the fewest words with a request that nothing fits."""
        words = set(re.findall(r"\w{4,}", asked.task.lower()))
        return min(some[:5], key=lambda f: len(words & set(re.findall(r"\w{4,}", f["description"].lower()))))

    @cached_property
    def _pool(self) -> Pool:
        return Pool([f for _, f in sorted({f["name"]: f for row in self.rows for f in row.functions}.items())])

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        """Name of an argument to the texts that rows give for it."""
        texts: dict[str, set[str]] = {}
        for row in self.rows:
            for name, value in row.arguments.items() if row.name else ():
                if isinstance(value, str) and value in row.task and 3 <= len(value) <= 40:
                    texts.setdefault(name, set()).add(value)
        return {name: sorted(values) for name, values in texts.items()}

    def _other(self, name: str, value: Any, schema: dict[str, Any], task: str) -> Any:
        """Another value for an argument whose value the task says in so many words; None where it does not."""
        if "enum" in schema or isinstance(value, bool) or self.dice.random() < 0.25:
            return None
        if isinstance(value, int | float):
            said = [m[0] for m in _NUMBER.finditer(task)]
            return self._number(value) if said.count(str(value)) == 1 else None
        others = self._values.get(name, [])
        if (
            not isinstance(value, str)
            or len(others) < 4
            or len(re.findall(rf"(?<!\w){re.escape(value)}(?!\w)", task)) != 1
        ):
            return None
        return self.dice.choice(others) if value in others else None

    def _number(self, value: float) -> float:
        if isinstance(value, int):
            if value in _YEARS:
                return self.dice.randrange(1950, 2030)
            return self.dice.randrange(max(2, 10 ** (len(str(value)) - 1)), 10 ** len(str(value)))
        digits = len(str(value).partition(".")[2])
        return round(self.dice.uniform(0.2, 3) * value, digits) or value

    def _fewer(self, function: dict[str, Any], needed: set[str]) -> dict[str, Any]:
        parameters = function["parameters"]
        keep = needed | set(parameters.get("required", ()))
        left = {n: s for n, s in parameters["properties"].items() if n in keep or self.dice.random() < 0.5}
        return {**function, "parameters": {**parameters, "properties": left}}


def _words(name: str) -> list[str]:
    return [w for w in re.split(r"[._\W]+|(?<=[a-z])(?=[A-Z])", name) if w]


def camel(name: str) -> str:
    """A name in code in another style: `find_movies` is `findMovies`."""
    first, *rest = _words(name)
    return first.lower() + "".join(w.capitalize() for w in rest)


def _snake(name: str) -> str:
    return "_".join(w.lower() for w in _words(name))


def _last(name: str) -> str:
    """Without what stands before the last dot or number: `Movies_3_FindMovies` is `FindMovies`."""
    return re.split(r"\.|_\d+_", name)[-1] or name
