"""The router: text to Route, trained from the specialists' own examples.

router = Router.fit({"safety": ["may I …", …], "stock": ["how many …", …]}, embedder=load_embedder())
router.route("how many filters are left?").choice   # "stock"
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from ..core.embedding import Embedder, Vectors
from ..core.errors import InputError, RouterError, unknown
from ..core.files import replace_folder
from ..core.runnable import task_of
from ..core.types import Route
from .decision import Decider, RouteRules, Rules, SecondLook, by_model, fit_least, prediction_of, segments, strength
from .features import (
    Example,
    FeatureRows,
    Features,
    Lexicon,
    Mix,
    Sparse,
    TaskExamples,
    as_examples,
    flatten,
    normalise_example,
)
from .learn import MOST_EXAMPLES, RouterTargets, learn_router, spread
from .model import NEVER, Calibration, Model, Shortcut
from .report import Explanation, explain

_FORMAT = 1
_Arrays = dict[str, np.ndarray]
_END = "__end__"
"""LangGraph's name for the end of a graph, which is not imported for it."""
_SAME = 0.6
"""An everyday text whose cosine with one of the team's examples is higher is not held against the team."""
_SEAMS = 300
"""The probability from which on a task is split is fitted on at most so many examples."""
PASSAGES = 200
"""So many passages of each specialist's documents are learnt from."""


class RouterData(NamedTuple):
    """Everything that a router was taught; with it, it can be taught again."""

    examples: list[Example]
    """Normalised; the team's own and those from outside, without the everyday texts."""
    rules: dict[str, RouteRules]
    targets: RouterTargets
    seed: int


class Router(Runnable[LanguageModelInput, Route]):
    """Routes texts. Made by `fit` or `load`; it never changes, so it may be shared between threads.

    As a LangChain Runnable it gives the `Route` of a text, or of the last of some messages.
    """

    def __init__(
        self,
        model: Model,
        learnt: Sequence[Example],
        data: RouterData,
        embedder: Embedder,
        *,
        second_look: SecondLook | None = None,
        words: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.model, self.learnt, self.data, self.embedder = model, list(learnt), data, embedder
        self._decider = Decider(model, Rules(data.rules, model.names), embedder, learnt, second_look, words)

    @classmethod
    def fit(
        cls,
        examples: TaskExamples,
        *,
        embedder: Embedder,
        outside: Sequence[str] = (),
        descriptions: Mapping[str, str] | None = None,
        documents: Mapping[str, Sequence[str]] | None = None,
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
            descriptions: What each specialist does, in a sentence or two.
            documents: Passages of each specialist's documents; with the descriptions, all there is without examples.
            rules: Patterns that win over what was learnt.
            false_refusal: Share of the team's own tasks that may be refused by mistake.
            coverage: How often the right specialist must be among `Route.candidates`.
            seed: For the choice of the examples that the kernel is tuned on.

        Raises:
            InputError: there is nothing to learn from.
            ConfigError: a rule is not a regular expression.
        """
        given = [
            *flatten(examples),
            *as_examples(None, "task", outside),
            *(e for name, text in (descriptions or {}).items() for e in as_examples(name, "description", [text])),
            *(e for name, texts in (documents or {}).items() for e in as_examples(name, "document", _evenly(texts))),
        ]
        data = RouterData(flatten(given), dict(rules or {}), RouterTargets(false_refusal, coverage), seed)
        return cls._teach(data, embedder)

    @property
    def names(self) -> tuple[str, ...]:
        """The specialists, in alphabetical order."""
        return self.model.names

    @property
    def fingerprint(self) -> str:
        """12 hex digits of what was learnt; two routers with the same one decide alike."""
        parts = (self.model.coefficients.tobytes(), repr(self.model.calibration).encode(), repr(self.names).encode())
        return hashlib.sha256(b"".join(parts)).hexdigest()[:12]

    def route(self, text: str, *, context: Sequence[str] = (), attachments: Sequence[str] = ()) -> Route:
        """Who should work on the text.

        Args:
            text: The task, in the user's words.
            context: The earlier tasks that the text refers to, oldest first; it is read with and without them, and the
                surer reading counts. Empty where it stands alone.
            attachments: Names of files that come with it.
        """
        return self._decider.decide(text, context, attachments)

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Route:
        """`route` as LangChain calls it; `kwargs` are its arguments. Raises InputError where there is no task."""
        return self._call_with_config(lambda given: self.route(task_of(given)[0], **kwargs), input, config)

    def explain(self, text: str, *, context: Sequence[str] = (), attachments: Sequence[str] = ()) -> Explanation:
        """`route` with its reasons: nearest examples, what each word adds, and what would have changed it."""
        return explain(self._decider, self.learnt, text, context, attachments)

    def held_out_routes(self) -> list[tuple[Example, Route]]:
        """Each example task, and where it would have gone had it not been learnt; rules and shortcuts left aside."""
        predicted = self.model.predict_held_out()
        return [
            (e, by_model(e.text, prediction_of(self.names, self.model.calibration, predicted, row)))
            for row, e in enumerate(self.learnt)
            if e.kind == "task"
        ]

    def with_second_look(self, second_look: SecondLook | None, words: Callable[[], Mapping[str, int]] = dict) -> Router:
        """The same router, which asks when in doubt.

        Args:
            words: The words of the documents and how often each comes: with its examples', what typing errors may mean.
        """
        return Router(self.model, self.learnt, self.data, self.embedder, second_look=second_look, words=words)

    def add(self, name: str, tasks: Sequence[str], *, description: str = "", rules: RouteRules | None = None) -> Router:
        """A router with one more specialist; only the new texts are embedded, the kernel stays as it was."""
        new = [*as_examples(name, "task", tasks), *as_examples(name, "description", [description])]
        ruled = {**self.data.rules, **({name: rules} if rules else {})}
        return self._again(flatten([*self.data.examples, *new]), ruled)

    def remove(self, name: str) -> Router:
        """A router without that specialist.

        Raises:
            RouterError: there is no such specialist.
        """
        if name not in self.names:
            raise RouterError(unknown("specialist", name, self.names))
        rest = [e for e in self.data.examples if e.label != name]
        return self._again(rest, {n: rule for n, rule in self.data.rules.items() if n != name})

    def only(self, names: Collection[str], unseen: Collection[str] = ()) -> Router:
        """A router for somebody who may know of no other specialists than these: as if it had never learnt of the rest.

        Args:
            names: At least one of its specialists.
            unseen: Texts of documents that this somebody may not see.
        """
        hidden = {normalise_example(text) for text in unseen}
        known = [e for e in self.data.examples if e.label is None or e.label in names]
        rest = [e for e in known if e.kind != "document" or e.text not in hidden]
        return self._again(rest, {name: rule for name, rule in self.data.rules.items() if name in names})

    def corrected(self, corrections: Sequence[Example]) -> Router:
        """A router that has learnt from its mistakes: a correction replaces what was said of the same text."""
        new = flatten(corrections)
        texts = {e.text for e in new}
        return self._again([*(e for e in self.data.examples if e.text not in texts), *new], self.data.rules)

    def as_edge(
        self,
        *,
        nodes: Mapping[str, str] | None = None,
        nobody: str = _END,
        clarify: str | None = None,
        text: Callable[[Any], str] | None = None,
    ) -> Callable[[Any], str | list[str]]:
        """This router as a conditional edge: `graph.add_conditional_edges(START, router.as_edge())`.

        Args:
            nodes: Specialist to node, where they are called differently.
            nobody: Node for tasks that nobody should answer; left out: the graph ends.
            clarify: Node that asks the user back; left out: as `nobody`.
            text: Takes the task out of the state; left out: the last of `messages`, else `input`.

        Returns:
            A function from a state to the node's name; to a list of names where a task has parts for several. It raises
            KeyError where a state has no task.
        """
        names, task_in = nodes or {}, text or _task_in

        def edge(state: Any) -> str | list[str]:
            route = self.route(task_in(state))
            if route.decision == "clarify":
                return clarify or nobody
            chosen = list(dict.fromkeys(names.get(part.specialist, part.specialist) for part in route.parts))
            return chosen[0] if len(chosen) == 1 else chosen or nobody

        return edge

    def save(self, folder: Path) -> None:
        """Write `router.safetensors` and `router.json` into `folder`, in one step."""
        more = {
            "embedder": self.embedder.name,
            "learnt": [e.model_dump() for e in self.learnt],
            "examples": [e.model_dump() for e in self.data.examples],
            "rules": {name: rule.model_dump() for name, rule in self.data.rules.items()},
            "promise": asdict(self.data.targets),
            "seed": self.data.seed,
        }
        _save_model(self.model, more, folder)

    @classmethod
    def load(cls, folder: Path, embedder: Embedder) -> Router:
        """What `_save_model` wrote.

        Raises:
            RouterError: nothing there, damaged, or fitted with another embedder.
        """
        model, more = _load_model(folder)
        if more["embedder"] != embedder.name:
            raise RouterError(
                f"the router in {folder} was fitted with embedder '{more['embedder']}', not '{embedder.name}'",
                hint="metier build fits it again",
            )
        rules = {name: RouteRules(**rule) for name, rule in more["rules"].items()}
        examples = [Example(**e) for e in more["examples"]]
        data = RouterData(examples, rules, RouterTargets(**more["promise"]), more["seed"])
        return cls(model, [Example(**e) for e in more["learnt"]], data, embedder)

    def _again(self, examples: list[Example], rules: dict[str, RouteRules]) -> Router:
        vectors = dict(zip((e.text for e in self.learnt), self.model.rows.vectors, strict=True))
        return self._teach(self.data._replace(examples=examples, rules=rules), self.embedder, vectors, self.model.mix)

    @classmethod
    def _teach(
        cls,
        data: RouterData,
        embedder: Embedder,
        vectors: Mapping[str, Vectors] | None = None,
        mix: Mix | None = None,
    ) -> Router:
        own = [e for e in data.examples if e.label is not None]
        names = sorted({e.label for e in own if e.label is not None})
        if not names:
            raise InputError("a router needs an example or a description", hint="Router.fit({'name': ['a task']})")
        seen = dict(vectors or {})
        outside = [e for e in data.examples if e.label is None]
        generic = as_examples(None, "task", everyday())
        _embed([*own, *outside, *generic], embedder, seen)
        near = _stack(generic, seen) @ _stack(own, seen).T
        learnt = [*own, *outside, *(e for e, cosines in zip(generic, near, strict=True) if cosines.max() < _SAME)]
        if len(learnt) > MOST_EXAMPLES:
            labels = np.array([names.index(e.label) if e.label else len(names) for e in learnt])
            learnt = [learnt[i] for i in spread(labels, MOST_EXAMPLES, data.seed)]
        model = learn_router(learnt, _stack(learnt, seen), names, data.targets, seed=data.seed, mix=mix)
        return cls(_with_part(model, learnt, embedder, data.seed), learnt, data, embedder)


def _task_in(state: Any) -> str:
    """The text of the last of a state's `messages`, or its `input`."""
    messages = _get(state, "messages")
    if not messages:
        task = _get(state, "input")
        if task is None:
            raise KeyError("the state has neither 'messages' nor 'input'; give `text=` to as_edge()")
        return str(task)
    last = messages[-1]
    if isinstance(last, tuple | list):
        return str(last[1])
    content = _get(last, "content")
    if isinstance(content, list):
        return " ".join(str(block.get("text", "")) for block in content if isinstance(block, Mapping))
    return str(last if content is None else content)


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def everyday() -> list[str]:
    """Some hundred tasks of many kinds and in some languages that most teams should not answer, written for metier: the
    outside texts of teams that have none of their own.
    """
    groups = json.loads((Path(__file__).parent / "everyday.json").read_text(encoding="utf-8"))
    return [normalise_example(text) for group in groups.values() for text in group]


def _evenly(texts: Sequence[str]) -> list[str]:
    """At most `PASSAGES` of the texts, from all over them."""
    places = np.linspace(0, len(texts) - 1, min(PASSAGES, len(texts))).round().astype(int)
    return [texts[int(i)] for i in places]


def _embed(examples: Sequence[Example], embedder: Embedder, seen: dict[str, Vectors]) -> None:
    new = list(dict.fromkeys(e.text for e in examples if e.text not in seen))
    if new:
        seen.update(zip(new, embedder.embed(new), strict=True))


def _stack(examples: Sequence[Example], seen: Mapping[str, Vectors]) -> Vectors:
    return np.stack([seen[e.text] for e in examples])


def _with_part(model: Model, learnt: Sequence[Example], embedder: Embedder, seed: int) -> Model:
    """The model with the probability from which on a task is split (see `fit_least`)."""
    tasks = [e.text for e in learnt if e.label is not None and e.kind == "task"]
    cut = [pieces for pieces in map(segments, tasks) if pieces]
    some = [cut[i] for i in spread(np.zeros(len(cut), dtype=np.intp), _SEAMS, seed)]
    if not some:
        return replace(model, calibration=replace(model.calibration, part=fit_least([], len(tasks))))
    flat = [normalise_example(piece) for pieces in some for piece in pieces]
    predicted = model.predict(flat, embedder.embed(flat))
    chances = predicted.inside[:, None] * predicted.given_inside
    ends = np.cumsum([len(pieces) for pieces in some])
    strengths = [strength(part) for part in np.split(chances, ends[:-1])]
    of = len(tasks) * len(some) // len(cut)
    return replace(model, calibration=replace(model.calibration, part=fit_least(strengths, of)))


def _save_model(model: Model, more: dict[str, Any], folder: Path) -> None:
    """Write `router.safetensors` (numbers) and `router.json` (everything else, with `more`) in one step."""
    arrays: _Arrays = {
        "vectors": model.rows.vectors,
        "labels": model.labels.astype(np.int64),
        "coefficients": model.coefficients,
        "prior": model.prior,
        "held_out": model.held_out,
        "shortcut.weights": model.shortcut.weights,
        "shortcut.bias": model.shortcut.bias,
        "calibration.weights": np.asarray(model.calibration.weights, dtype=np.float64),
        "words.idf": model.features.words.idf,
        "pieces.idf": model.features.pieces.idf,
        **_parts("words", model.rows.words),
        **_parts("pieces", model.rows.pieces),
    }
    calibration = {k: v for k, v in asdict(model.calibration).items() if k != "weights"}
    described = {
        "format": _FORMAT,
        "names": model.names,
        "mix": asdict(model.mix),
        "calibration": calibration,
        "words": model.features.words.terms,
        "pieces": model.features.pieces.terms,
        "shortcut": {"terms": list(model.shortcut.terms), "margin": _finite(model.shortcut.margin)},
        "more": more,
    }
    with replace_folder(folder) as fresh:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, fresh / "router.safetensors")
        (fresh / "router.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")


def _load_model(folder: Path) -> tuple[Model, dict[str, Any]]:
    """What `_save_model` wrote.

    Raises:
        RouterError: there is nothing, or it is damaged or of another format.
    """
    hint = "metier build, or Router.fit(…).save(folder)"
    try:
        described = json.loads((folder / "router.json").read_text(encoding="utf-8"))
        if described["format"] != _FORMAT:
            raise RouterError(f"{folder}: format {described['format']}, this metier reads {_FORMAT}", hint=hint)
        arrays = load_file(folder / "router.safetensors")
        return _model(described, arrays), described["more"]
    except FileNotFoundError as error:
        raise RouterError(f"no fitted router in {folder}", hint=hint) from error
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RouterError(f"{folder}: damaged ({type(error).__name__}: {error})", hint=hint) from error


def _model(described: dict[str, Any], arrays: _Arrays) -> Model:
    words, pieces = (Lexicon(k, described[k], arrays[f"{k}.idf"]) for k in ("words", "pieces"))
    rows = FeatureRows(
        arrays["vectors"],
        _sparse("words", arrays, len(words.terms)),
        _sparse("pieces", arrays, len(pieces.terms)),
    )
    return Model(
        names=tuple(described["names"]),
        mix=Mix(**described["mix"]),
        features=Features(words, pieces),
        rows=rows,
        labels=arrays["labels"],
        coefficients=arrays["coefficients"],
        prior=arrays["prior"],
        held_out=arrays["held_out"],
        calibration=Calibration(weights=arrays["calibration.weights"], **described["calibration"]),
        shortcut=Shortcut(
            terms={term: i for i, term in enumerate(described["shortcut"]["terms"])},
            weights=arrays["shortcut.weights"],
            bias=arrays["shortcut.bias"],
            margin=NEVER if described["shortcut"]["margin"] is None else described["shortcut"]["margin"],
        ),
    )


def _finite(margin: float) -> float | None:
    """JSON has no infinity."""
    return None if margin == NEVER else margin


def _parts(name: str, matrix: Sparse) -> _Arrays:
    kinds = {"data": np.float32, "indices": np.int32, "indptr": np.int64}
    return {f"{name}.{part}": getattr(matrix, part).astype(kind) for part, kind in kinds.items()}


def _sparse(name: str, arrays: _Arrays, terms: int) -> Sparse:
    parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return csr_matrix(parts, shape=(len(parts[2]) - 1, terms))
