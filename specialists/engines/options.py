"""The most probable of some options, exactly, and how probable each is.

Greedy sampling under a grammar is short-sighted: for "the capital of France" a small model may begin with `L`, and
must then end with `London`, although it finds `Paris` far more probable as a whole. Here each answer of the server
tells the probability of one whole option and an upper bound for those that branched off on the way; whichever
might still be better is asked for next (uniform-cost search over the prefixes of the options).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import grammar
from .llama_server import Body

MOST_CALLS = 8
"""A trained model needs one call or two; an untrained one with many options stops here with the best so far."""

_WATCHED = 100
"""Tokens whose probability is looked at in each position; what is less probable than all these counts as zero."""


@dataclass
class Choice:
    """What was chosen."""

    option: str
    probabilities: dict[str, float]
    """Of each option, relative to all of them; those that were not looked into share an upper bound."""
    answers: list[Body]
    """The server's answers, for usage and timings."""
    logprob: float
    """Mean log-probability of the tokens of the option."""


@dataclass
class _Search:
    options: list[bytes]
    found: dict[bytes, float] = field(default_factory=dict)
    """Option to probability."""
    logprobs: dict[bytes, float] = field(default_factory=dict)
    ahead: list[tuple[float, bytes]] = field(default_factory=lambda: [(1.0, b"")])
    """Prefixes that were not looked into, with their probability."""

    def left(self, prefix: bytes) -> list[bytes]:
        return [o for o in self.options if o.startswith(prefix) and o not in self.found]

    def next(self) -> bytes | None:
        """The prefix that may hold something better than all that was found; None when there is none."""
        self.ahead = sorted((p, prefix) for p, prefix in self.ahead if self.left(prefix))
        if not self.ahead or self.ahead[-1][0] <= max(self.found.values(), default=-1.0):
            return None
        return self.ahead.pop()[1]

    def learn(self, tokens: Sequence[Body], prefix: bytes) -> None:
        """Walk along one answer: its own probability, and the branches beside it from `prefix` on."""
        mass, said = 1.0, b""
        for token in tokens:
            for other in token["top_logprobs"]:
                if other["id"] != token["id"] and len(said) >= len(prefix):
                    self._branch(said, bytes(other["bytes"]), mass * math.exp(other["logprob"]))
            mass *= math.exp(token["logprob"])
            said += bytes(token["bytes"])
        self.found[said] = max(mass, self.found.get(said, 0.0))
        self.logprobs[said] = sum(t["logprob"] for t in tokens) / max(1, len(tokens))

    def _branch(self, said: bytes, more: bytes, mass: float) -> None:
        if more:
            self.ahead.append((mass, said + more))
        elif said in self.options and said not in self.found:
            # Control tokens have no bytes: the answer ends here, and this is a whole option.
            self.found[said], self.logprobs[said] = mass, math.log(max(mass, 1e-300))

    def probabilities(self) -> dict[bytes, float]:
        shares = dict.fromkeys(self.options, 0.0) | self.found
        for mass, prefix in self.ahead:
            left = self.left(prefix)
            for option in left:
                shares[option] += mass / len(left)
        total = sum(shares.values()) or 1.0
        return {option: share / total for option, share in shares.items()}


def choose(complete: Callable[[Body], Body], body: Body, options: Sequence[str]) -> Choice:
    """The option that the model finds most probable as its whole answer.

    Args:
        complete: Sends one request and gives the server's answer.
        body: The request without constraint.

    Raises:
        ValueError: There are no options.
        EngineError: The server failed.
    """
    search = _Search([option.encode() for option in dict.fromkeys(options)])
    answers: list[Body] = []
    longest = max((len(option) for option in search.options), default=0) + 2
    ask = {**body, "temperature": 0.0, "max_tokens": longest, "logprobs": True, "top_logprobs": _WATCHED}
    while len(answers) < MOST_CALLS and (prefix := search.next()) is not None:
        rule = grammar.one_of([option.decode() for option in search.left(prefix)])
        answers.append(complete({**ask, "grammar": rule}))
        search.learn(answers[-1]["choices"][0]["logprobs"]["content"], prefix)
    best = max(search.found, key=search.found.__getitem__)
    shares = {option.decode(): share for option, share in search.probabilities().items()}
    return Choice(best.decode(), shares, answers, search.logprobs[best])
