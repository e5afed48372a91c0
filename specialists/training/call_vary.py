"""Variations of a task with functions, so that the skill `call` learns to read functions rather than to know them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .call_data import Asked

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
            shown += [f for f in [self._stranger(asked)] if f["name"] not in {g["name"] for g in shown}]
        self.dice.shuffle(shown)
        shown.sort(key=lambda f: f["name"] != asked.name)
        kept = shown[:most]
        self.dice.shuffle(kept)
        return replace(asked, functions=tuple(kept))

    def without(self, asked: Asked, most: int) -> Asked:
        """The function that fits is not there: its neighbours are, or functions of other rows."""
        left = tuple(f for f in asked.functions if f["name"] != asked.name)
        while not left or (len(left) < most and self.dice.random() < 0.3):
            left += (self._stranger(asked),)
        left = tuple({f["name"]: f for f in left}.values())[:most]
        return replace(asked, functions=left, name="", accepted=None)

    def _stranger(self, asked: Asked) -> dict[str, Any]:
        """A function of another row: any, or one that shares words with the task. Never one of the same name."""
        same = {_last(f["name"]).lower() for f in asked.functions}
        pool = [f for f in self.dice.sample(self._functions, 30) if _last(f["name"]).lower() not in same]
        if self.dice.random() < 0.5:
            return pool[0]
        words = set(re.findall(r"\w{4,}", asked.task.lower()))
        return max(pool, key=lambda f: len(words & set(re.findall(r"\w{4,}", f["description"].lower()))))

    @cached_property
    def _functions(self) -> list[dict[str, Any]]:
        return [f for _, f in sorted({f["name"]: f for row in self.rows for f in row.functions}.items())]

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        """Name of an argument to the texts that rows give for it."""
        found: dict[str, set[str]] = {}
        for row in self.rows:
            for name, value in row.arguments.items() if row.name else ():
                if isinstance(value, str) and value in row.task and 3 <= len(value) <= 40:
                    found.setdefault(name, set()).add(value)
        return {name: sorted(values) for name, values in found.items()}

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
