"""What a text says, as far as a program can tell: its words, its numbers, and where it says no."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

_WORD = re.compile(r"[^\W\d_]+")
_STEM = 5
"""Letters of a word that count, so that `comedies` meets `comedy`."""
_WITHOUT_SPACES = re.compile(r"[\u2e80-\uffdc]")
"""Scripts whose words are not set apart: single characters count there."""

_TOKEN = re.compile(r"[0-9]+(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|[^\W\d_]+")
_COUNTED = {
    word: n for n, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
}
_VAGUE = re.compile(
    r"\b(half|quarter|dozen|couple|pair|single|double|twice|once|hundred|thousand|"
    r"(seconds?|minutes?|hours?|days?|weeks?|months?|years?|today|tomorrow|yesterday))\b",
    re.IGNORECASE,
)
_NO = re.compile(r"\b(no|not|non|never|without|except|exclud\w*|regardless|dont|doesnt)\b|n['’]t\b", re.IGNORECASE)


def stems(text: str) -> set[str]:
    """The beginnings of a text's words, in small letters; numbers are no words."""
    return {w[:_STEM].lower() for w in _WORD.findall(text)} | set(_WITHOUT_SPACES.findall(text))


def spelled(name: str) -> str:
    """A name in code as words: `numPassengers` and `num_passengers` are `num passengers`."""
    return " ".join(w.lower() for w in _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)))


@dataclass(frozen=True)
class Said:
    """A text that was said."""

    text: str

    @cached_property
    def stems(self) -> set[str]:
        return stems(self.text)

    @cached_property
    def negated(self) -> bool:
        """Whether it says no to something; to what, a program cannot tell."""
        return bool(_NO.search(self.text))

    @cached_property
    def numbers(self) -> dict[float, set[str]]:
        """Its numbers, in digits or as words, and the stems of the three words on either side of each."""
        found: dict[float, set[str]] = {}
        tokens = [token.lower() for token in _TOKEN.findall(self.text)]
        for at, token in enumerate(tokens):
            number = _number(token)
            if number is not None:
                near = tokens[max(0, at - 3) : at] + tokens[at + 1 : at + 4]
                found.setdefault(number, set()).update(stems(" ".join(near)))
        return found

    def words(self, phrase: str) -> bool:
        """Whether the phrase stands in it, whole words, whatever the case."""
        return bool(_plain(phrase)) and f" {_plain(phrase)} " in f" {_plain(self.text)} "

    def number(self, value: float) -> bool:
        """Whether it may have said this number: its digits stand there (20 % for 0.2, '19 for 2019), or a number may be
        hidden in its words (`half an hour`, `a dozen`)."""
        if _VAGUE.search(self.text) or _WITHOUT_SPACES.search(self.text):
            return True
        if value == 1 and self.words("one"):
            return True
        digits = _digits(value)
        return any(digits.endswith(other) for other in map(_digits, self.numbers))


def numbers_in(values: object) -> Iterator[float]:
    """All numbers in the arguments of a call, those in texts too."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from numbers_in(value)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield from (float(values), round(values * 100, 6))
    elif isinstance(values, str):
        yield from (float(digits) for digits in re.findall(r"\d+", values))
        yield from Said(values).numbers


def _number(token: str) -> float | None:
    if token[0] in "0123456789":
        return float(token.replace(",", ""))
    return float(_COUNTED[token]) if token in _COUNTED and token != "one" else None


def _digits(value: float) -> str:
    return re.sub(r"\D", "", f"{value:.6f}").strip("0") or "0"


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.replace("_", " ").lower()))
