"""The router: text to Route, trained from the specialists' own examples.

router = Router.fit({"safety": ["may I …", …], "stock": ["how many …", …]}, embedder=load_embedder())
router.route("how many filters are left?").choice   # "stock"
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..core.embedding import Embedder
from ..core.errors import InputError, RouterError
from ..core.types import Part, Route
from . import store
from .decide import decide, verdict
from .everyday import everyday
from .example import Example, Examples, flatten, normalise
from .learn import Promise, learn
from .model import Model
from .rules import RouteRules, Rules, Ruling

SAME = 0.6
"""An everyday text whose cosine with one of the team's examples is higher is not held against the team."""


class Router:
    """Routes texts. Made by `fit` or `load`; immutable, so it may be shared between threads."""

    def __init__(
        self,
        model: Model,
        examples: Sequence[Example],
        embedder: Embedder,
        rules: Mapping[str, RouteRules],
        descriptions: Mapping[str, str],
        promise: Promise,
        seed: int,
    ) -> None:
        self.model, self.examples, self.embedder = model, list(examples), embedder
        self.descriptions, self.promise, self.seed = dict(descriptions), promise, seed
        self.rules = Rules(rules, model.names)

    @classmethod
    def fit(
        cls,
        examples: Examples,
        *,
        embedder: Embedder,
        outside: Sequence[str] = (),
        descriptions: Mapping[str, str] | None = None,
        rules: Mapping[str, RouteRules] | None = None,
        false_refusal: float = 0.04,
        coverage: float = 0.95,
        seed: int = 0,
    ) -> Router:
        """Learn from examples; the same input gives the same router.

        Args:
            examples: Tasks with the specialist they belong to (label None: nobody).
            embedder: Text to vectors; `load` needs the same one.
            outside: More tasks that nobody on the team should answer.
            descriptions: What each specialist does, in a sentence or two; all there is for one without examples.
            rules: Patterns that win over what was learnt.
            false_refusal: Share of the team's own tasks that may be refused by mistake.
            coverage: How often the right specialist must be among `Route.candidates`.
            seed: For the choice of the examples that the kernel is tuned on.

        Raises:
            InputError: there is nothing to learn from.
            ConfigError: a rule is not a regular expression.
        """
        described = dict(descriptions or {})
        told = [Example(text=text, label=name) for name, text in described.items()]
        given = [*flatten(examples, outside), *told]
        clean = flatten([Example(text=normalise(e.text), label=e.label) for e in given])
        own = [e for e in clean if e.label is not None]
        names = sorted({e.label for e in own if e.label is not None})
        if not names:
            raise InputError(
                "a router needs at least one example or description", hint="Router.fit({'name': ['a task']})"
            )
        promise = Promise(false_refusal, coverage)
        texts = [e.text for e in own]
        vectors = embedder.embed(texts)
        others = _outside([e.text for e in clean if e.label is None], vectors, embedder)
        all_examples = [*own, *(Example(text=text) for text in others)]
        everything = np.concatenate([vectors, embedder.embed(others)]) if others else vectors
        model = learn(all_examples, everything, names, promise, seed)
        return cls(model, all_examples, embedder, rules or {}, described, promise, seed)

    @property
    def names(self) -> tuple[str, ...]:
        """The specialists, in alphabetical order."""
        return self.model.names

    def route(self, text: str, *, context: Sequence[str] = (), attachments: Sequence[str] = ()) -> Route:
        """Who should work on the text.

        Args:
            text: The task, in the user's words.
            context: Earlier tasks of the same thread, oldest first; used when the text does not stand alone.
            attachments: Names of files that come with it.
        """
        clean = normalise(text)
        if not clean:
            return Route(decision="abstain", confidence=1.0, reason="the task is empty")
        ruling = self.rules.judge(clean, attachments)
        if ruling.chosen:
            return _ruled(ruling)
        return self._by_model(clean, context, attachments, ruling)

    def route_many(self, texts: Sequence[str]) -> list[Route]:
        """`route` for many texts without context, faster than one by one."""
        return [self.route(text) for text in texts]

    async def aroute(self, text: str, *, context: Sequence[str] = (), attachments: Sequence[str] = ()) -> Route:
        """`route` for asynchronous callers; runs in a thread."""
        return await asyncio.to_thread(self.route, text, context=context, attachments=attachments)

    def save(self, folder: Path) -> None:
        """Write `router.safetensors` and `router.json` into `folder`, in one step."""
        more = {
            "embedder": self.embedder.name,
            "examples": [[e.text, e.label] for e in self.examples],
            "rules": {name: rule.model_dump(mode="json") for name, rule in self.rules.source.items()},
            "descriptions": self.descriptions,
            "promise": asdict(self.promise),
            "seed": self.seed,
        }
        store.save(self.model, more, folder)

    @classmethod
    def load(cls, folder: Path, embedder: Embedder) -> Router:
        """What `save` wrote.

        Raises:
            RouterError: nothing there, damaged, or fitted with another embedder.
        """
        model, more = store.load(folder)
        if more["embedder"] != embedder.name:
            raise RouterError(
                f"the router in {folder} was fitted with embedder '{more['embedder']}', not '{embedder.name}'",
                hint="metier build fits it again",
            )
        examples = [Example(text=text, label=label) for text, label in more["examples"]]
        rules = {name: RouteRules(**rule) for name, rule in more["rules"].items()}
        promise = Promise(**more["promise"])
        return cls(model, examples, embedder, rules, more["descriptions"], promise, more["seed"])

    def _by_model(self, text: str, context: Sequence[str], attachments: Sequence[str], ruling: Ruling) -> Route:
        read = normalise(" ".join([text, *attachments]))
        judged = self.model.judge([read], self.embedder.embed([read]))
        found = decide(text, verdict(self.model, judged, 0, ruling.barred))
        if found.decision == "abstain" and context:
            joined = normalise(f"{context[-1]} {read}")
            judged = self.model.judge([joined], self.embedder.embed([joined]))
            again = decide(text, verdict(self.model, judged, 0, ruling.barred))
            if again.decision == "one":
                return again.model_copy(update={"reason": f"{again.reason}, read with the thread"})
        return found


def _ruled(ruling: Ruling) -> Route:
    parts = tuple(Part(specialist=name, text=ruling.text) for name in ruling.chosen)
    return Route(
        decision="several" if len(parts) > 1 else "one",
        parts=parts,
        confidence=1.0,
        candidates=ruling.chosen,
        reason=ruling.reason,
    )


def _outside(given: list[str], own: np.ndarray, embedder: Embedder) -> list[str]:
    """The given texts, and those everyday texts that are not like the team's own tasks."""
    generic = [text for text in everyday() if text not in set(given)]
    nearest = (embedder.embed(generic) @ own.T).max(axis=1)
    return [*given, *(text for text, near in zip(generic, nearest, strict=True) if near < SAME)]
