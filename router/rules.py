"""What wins over the trained head: a name that the user typed, and the patterns of the cards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..core.errors import ConfigError
from ..core.types import Value


class RouteRules(Value):
    """Regular expressions on the task; case does not matter. `never` wins over `always`."""

    always: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


class Ruling(NamedTuple):
    """What the rules say about a task."""

    chosen: tuple[str, ...]
    """Specialists that get it whatever the head thinks, in the order of the text."""
    barred: frozenset[str]
    """Specialists that must not get it."""
    text: str
    """The task without the names that were called."""
    reason: str


class Rules:
    """The rules of all specialists, compiled."""

    def __init__(self, rules: Mapping[str, RouteRules], names: Iterable[str]) -> None:
        """Raises ConfigError where a pattern is not a regular expression."""
        self.source = dict(rules)
        self._always = {name: _compile(name, "always", rule.always) for name, rule in rules.items()}
        self._never = {name: _compile(name, "never", rule.never) for name, rule in rules.items()}
        called = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        # Not inside an address such as me@sales.example: neither a word before, nor the name going on behind.
        self._called = re.compile(rf"(?<![\w.@-])@({called})(?![\w@-]|\.\w)", re.IGNORECASE) if called else None
        self._names = {name.lower(): name for name in names}

    def judge(self, text: str, attachments: Sequence[str] = ()) -> Ruling:
        """Look at the task and the names of its attachments."""
        lines = [text, *attachments]
        barred = frozenset(name for name, patterns in self._never.items() if _match(patterns, lines))
        called, rest = self._find_called(text)
        called = [name for name in called if name not in barred]
        if called:
            return Ruling(tuple(called), barred, rest, f"the task calls @{', @'.join(called)}")
        for name, patterns in self._always.items():
            pattern = _match(patterns, lines)
            if pattern and name not in barred:
                return Ruling((name,), barred, text, f"rule of {name}: always /{pattern}/")
        return Ruling((), barred, text, f"rule: never {', '.join(sorted(barred))}" if barred else "")

    def _find_called(self, text: str) -> tuple[list[str], str]:
        if self._called is None or "@" not in text:
            return [], text
        called = list(dict.fromkeys(self._names[found.lower()] for found in self._called.findall(text)))
        rest = re.sub(r"\s+", " ", self._called.sub("", text)).strip(" ,:;") if called else text
        return called, rest or text


def _compile(name: str, field: str, patterns: Iterable[str]) -> list[re.Pattern[str]]:
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern, re.IGNORECASE))
        except re.error as error:
            raise ConfigError(
                f"/{pattern}/ is not a regular expression: {error}", field=f"{name}: route.{field}"
            ) from error
    return compiled


def _match(patterns: Iterable[re.Pattern[str]], lines: Sequence[str]) -> str | None:
    return next((p.pattern for p in patterns if any(p.search(line) for line in lines)), None)
