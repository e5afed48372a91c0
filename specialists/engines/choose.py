"""The most probable of some options, exactly, and how probable each is.

Greedy sampling under a grammar is short-sighted: asked for the capital of France, a small model may begin with `L`
and must then end with `London`, although it finds `Paris` far more probable as a whole. Here each answer of the
server tells the probability of one whole option and upper bounds for those that it did not follow; whichever might
still be better is asked for next (best-first branch and bound).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .grammar import one_of

MOST_CALLS = 8
"""A trained model needs one call or two; an untrained one with many options stops here with the best so far."""


_WATCHED = 100
"""Tokens whose probability is looked at in each position. The others are bounded by the least probable of these."""


@dataclass(frozen=True)
class ChosenOption:
    """What was chosen."""

    option: str
    probabilities: dict[str, float]
    """Of each option, relative to all; for those that were not looked into an estimate that is rather too high."""
    answers: list[Body]
    """The server's answers, for usage and timings."""
    logprob: float
    """Mean log-probability of the option's tokens."""


@dataclass(frozen=True)
class _Branch:
    bound: float
    """No option here is more probable than this, by the tokens that lead here."""
    options: tuple[bytes, ...]


@dataclass
class _Search:
    options: tuple[bytes, ...]
    found: dict[bytes, tuple[float, float]] = field(default_factory=dict)
    """Option to its probability and the mean log-probability of its tokens."""
    branches: list[_Branch] = field(default_factory=list)

    def next(self) -> _Branch | None:
        """What may hold something better than all that was found; None when there is nothing."""
        if not self.found:
            return _Branch(1.0, self.options)
        left = [_Branch(b.bound, self.left(b.options)) for b in self.branches]
        self.branches = sorted((b for b in left if b.options), key=lambda b: b.bound)
        if not self.branches or self.branches[-1].bound <= max(self.found.values())[0]:
            return None
        return self.branches.pop()

    def left(self, options: Sequence[bytes]) -> tuple[bytes, ...]:
        return tuple(option for option in options if option not in self.found)

    def learn(self, branch: _Branch, tokens: Sequence[Body]) -> None:
        """Walk along one answer: the probability of the option that it is, and bounds for the branch's others."""
        total, said = 0.0, b""
        for number, token in enumerate(tokens, start=1):
            alive = tuple(option for option in branch.options if option.startswith(said))
            self._bound(branch, total + min(t["logprob"] for t in token["top_logprobs"]), alive)
            for other in token["top_logprobs"]:
                more, reached = bytes(other["bytes"]), total + other["logprob"]
                if more and other["id"] != token["id"]:
                    self._bound(branch, reached, tuple(o for o in alive if o.startswith(said + more)))
                elif not more and said in alive:
                    # Control tokens have no bytes: the answer ends here, and this is a whole option.
                    self.found.setdefault(said, (math.exp(reached), reached / number))
            total += token["logprob"]
            said += bytes(token["bytes"])
        self.found[said] = math.exp(total), total / max(1, len(tokens))

    def _bound(self, branch: _Branch, logprob: float, options: tuple[bytes, ...]) -> None:
        if options:
            self.branches.append(_Branch(min(math.exp(logprob), branch.bound), options))

    def shares(self) -> dict[bytes, float]:
        weights = dict.fromkeys(self.options, 0.0) | {option: p for option, (p, _) in self.found.items()}
        for branch in self.branches:
            left = self.left(branch.options)
            for option in left:
                weights[option] = max(weights[option], branch.bound / len(left))
        total = sum(weights.values()) or 1.0
        return {option: weight / total for option, weight in weights.items()}


def choose(
    complete: Callable[[Body], Body],
    tokenize: Callable[[str], list[int]],
    body: Body,
    options: Sequence[str],
    end: str = "",
) -> ChosenOption:
    """The option that the model finds most probable as its whole answer.

    Args:
        complete: Sends one request and gives the server's answer.
        tokenize: Text to token ids.
        body: The request without constraint.
        end: The base's end-of-turn token, as for `one_of`.

    Raises:
        ValueError: There are no options.
        EngineError: The server failed.
    """
    if not options:
        raise ValueError("no options to choose from")
    search = _Search(tuple(option.encode() for option in dict.fromkeys(options)))
    ask = {**body, "temperature": 0.0, "logprobs": True, "top_logprobs": _WATCHED}
    ask["max_tokens"] = max(map(len, search.options)) + 2
    answers: list[Body] = []

    def say_one_of(texts: list[str]) -> list[Body]:
        answers.append(complete({**ask, "grammar": one_of(texts, end)}))
        return answers[-1]["choices"][0]["logprobs"]["content"]

    while len(answers) < MOST_CALLS and (branch := search.next()) is not None:
        tokens = say_one_of([option.decode() for option in branch.options])
        said = b"".join(bytes(token["bytes"]) for token in tokens).decode()
        # Greedy sampling may spell an option in odd pieces, which says little: made to say it alone, it spells well.
        if len(branch.options) > 1 and tokenize(said) != [token["id"] for token in tokens if token["bytes"]]:
            tokens = say_one_of([said])
        search.learn(branch, tokens)
    best = max(search.found, key=lambda option: search.found[option][0])
    shares = {option.decode(): share for option, share in search.shares().items()}
    return ChosenOption(best.decode(), shares, answers, search.found[best][1])


Body = dict[str, Any]
