"""Which functions are near one another and yet do another thing: what stands beside the right one, or in its place."""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from metier.core.text import STOPWORDS
from metier.specialists.styles.act.arguments import spelled, stems

Spec = dict[str, Any]
"""A function: `name`, `description`, `parameters`."""


def key(name: str) -> str:
    """A function's name without its module and its spelling: `Movies_3_FindMovies` is `findmovies`."""
    return re.sub(r"[\W_]", "", re.split(r"\.|_\d+_", name)[-1]).lower()


_VERBS = {
    "read": "get find search list look lookup query check show browse fetch retrieve provide see view calculate "
    "compute determine estimate evaluate analyze analyse assess identify measure return obtain give tell display read",
    "make": "book reserve create add order buy purchase schedule send make set register open start submit rent post",
    "change": "update modify change edit adjust convert move transfer",
    "remove": "delete remove cancel erase clear close stop",
}
_GROUP = {next(iter(stems(verb))): group for group, verbs in _VERBS.items() for verb in verbs.split()}
_SAYS_NOTHING = stems(
    " ".join(STOPWORDS) + " information info details data specific given based current api new user users this "
    "allows specified various using related available provides retrieves function detail result results latest"
)


def content(function: Spec) -> frozenset[str]:
    """The stems of a function's name and description that say what it is about; verbs aside."""
    return _telling(f"{spelled(function['name'])} {function['description']}")


@cache
def _telling(text: str) -> frozenset[str]:
    """The stems of a text without verbs and words that stand in every description."""
    return frozenset(stems(text) - _SAYS_NOTHING - _GROUP.keys())


def verb(function: Spec) -> str:
    """What kind of thing it does, by the first verb of its name or description; may be empty."""
    words = [*spelled(function["name"]).split(), *function["description"].split()[:2]]
    return next((_GROUP[s] for word in words for s in stems(word) if s in _GROUP), "")


def does_another_thing(function: Spec, right: Spec, task: str) -> bool:
    """Whether a function cannot be meant where the right one is: each speaks of something that the other does not, or
    one reads what the other changes. A more general one or one in other words may well be meant."""
    own, other = content(function), content(right)
    if key(function["name"]) == key(right["name"]) or not own:
        return False
    verbs = {verb(function), verb(right)}
    new, missing = own - other - stems(task), other - own
    if len(verbs - {""}) < 2 and _telling(spelled(function["name"])) <= other | stems(task):
        return False
    if len(verbs - {""}) == 2 and new:
        return True
    return bool(new and missing) and len(own & other) / len(own | other) < 0.6


class Pool:
    """All functions of some sets, to find those near another one."""

    def __init__(self, functions: Sequence[Spec]) -> None:
        self.functions = [*{key(f["name"]): f for f in functions}.values()]
        self._with: dict[str, list[int]] = defaultdict(list)
        for place, function in enumerate(self.functions):
            for stem in content(function):
                self._with[stem].append(place)

    def near(self, right: Spec | None, task: str, dice: random.Random) -> Iterator[Spec]:
        """Functions that share rare words with the right one or with the task, and do another thing; the nearest
        first, but for chance."""
        sought = (content(right) if right else set[str]()) | (stems(task) - _SAYS_NOTHING)
        scores: dict[int, float] = defaultdict(float)
        for stem in sorted(sought & self._with.keys()):
            for place in self._with[stem]:
                scores[place] += math.log(len(self.functions) / len(self._with[stem])) * dice.uniform(0.5, 1)
        for place in sorted(scores, key=lambda p: -scores[p] / math.sqrt(4 + len(content(self.functions[p]))))[:25]:
            function = self.functions[place]
            if right and does_another_thing(function, right, task):
                yield function

    def any(self, dice: random.Random) -> Spec:
        return dice.choice(self.functions)
