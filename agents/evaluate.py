"""A team's specialists on their evaluation questions: which systems there are to compare, and what they answered.

Each specialist is asked by itself, without the router, its documents as they were last built. Tools are not run: a call
is judged by what it would do. Answers are kept in `.metier/evaluations/VERSION/`, so that only what changed is asked.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..core.embedding import Embedder
from ..core.errors import InputError, StateError, unknown
from ..core.files import sha256
from ..core.models import ModelStore
from ..core.onnx_embedder import load_embedder
from ..core.run import Progress, no_progress, part_of
from ..core.types import Budget
from ..specialists.adapters.choose import Adapter, Candidates, candidates, on_server
from ..specialists.adapters.registry import ALIASES
from ..specialists.confidence import AS_SHIPPED, fitted_for
from ..specialists.engines import Engine
from ..specialists.evaluation.measures import Ground
from ..specialists.evaluation.questions import Question, Result
from ..specialists.evaluation.report import EvaluationReport, Summary, summarise
from ..specialists.evaluation.run import ask_questions, missing, read_results
from ..specialists.knowledge.knowledge import Knowledge
from .assemble import (
    Bases,
    Runtime,
    adapter_of,
    calibration_of,
    classifier_in_use,
    engine_name,
    find_bases,
    open_knowledge,
    open_specialist,
    version_of,
)
from .cards import Blueprint, blueprint_at, fingerprint
from .engines import open_engines
from .feedback import read_questions

IN_USE = "in use"
"""The system that answers now: the champion, or what the card says."""


EVALUATIONS = "evaluations"
"""Folder of the answers, in the team's state."""


NO_SET = "its card names no `evaluation` set"


HEAD = "head"
"""The system of a specialist whose trained classifier does better than its model."""


SYSTEMS = ("base", "skill", "adapter", HEAD, *ALIASES)


@dataclass(frozen=True)
class Candidate:
    """A specialist with one of the adapters that it could work with."""

    specialist: str
    system: str
    """One of `SYSTEMS`."""
    adapter: Adapter
    classifier: bool
    """Whether its trained classifier answers, if it has one, and not the model."""
    version: str
    """Two systems of the same version are the same. It is that of their answers where the team has no calibration."""
    folder: Path
    """Where its results are."""


@dataclass(frozen=True)
class Evaluation:
    """A team that was built, opened to be evaluated."""

    blueprint: Blueprint
    bases: Bases
    embedder: Embedder
    knowledge: Mapping[str, Knowledge]
    progress: Progress
    limit: int | None = None
    """At most so many questions of each specialist; the first `limit` of an order that the seed gives."""
    seed: int = 0
    asked: dict[str, list[Question]] = field(default_factory=dict)

    def questions(self, name: str) -> list[Question]:
        """The questions of a specialist that are asked; none when its card names no evaluation set."""
        if name not in self.asked:
            whole = read_questions(self.blueprint, name)
            order = random.Random(self.seed).sample(range(len(whole)), len(whole))
            self.asked[name] = [whole[n] for n in sorted(order[: self.limit])]
        return self.asked[name]

    def candidates(self, name: str, systems: Sequence[str] = SYSTEMS) -> list[Candidate]:
        """The systems among `systems` that this specialist has."""
        named = {s: self._candidate(name, s, a, classifier=False) for s, a in self._adapters(name).items()}
        if classifier_in_use(self.blueprint, name):
            named[HEAD] = self._candidate(name, HEAD, adapter_of(self.blueprint, name), classifier=True)
        return [named[system] for system in systems if system in named]

    def _adapters(self, name: str) -> Candidates:
        """On a server that has its adapters only the base and the card's: skills and versions are here, not there."""
        plan, card = self.blueprint, self.blueprint.specialists[name]
        if plan.card.served and not plan.published:
            served = on_server(card)
            return {"base": None, "adapter": served} if served else {"base": None}
        state = plan.registry.state(name)
        versions = {a: plan.registry.find(name, a).path if getattr(state, a) else None for a in ALIASES}
        return candidates(card, plan.folders[name], plan.base_of(name), versions)

    def in_use(self, name: str) -> Candidate:
        """The system that answers now."""
        return self._candidate(name, IN_USE, adapter_of(self.blueprint, name), classifier=True)

    def run(self, candidates: Sequence[Candidate]) -> list[list[Result]]:
        """The results of each candidate. The model is loaded only when there is something left to ask."""
        todo = [t for t in candidates if missing(self.questions(t.specialist), t.folder)]
        with ExitStack() as stack:
            wanted = [
                (t.specialist, engine_name(self.blueprint, t.specialist, t.adapter, self.bases, self.progress))
                for t in todo
            ]
            engines = stack.enter_context(open_engines(self.blueprint, self.bases, wanted))
            return [self._judged(t.specialist, self._results(t, engines)) for t in candidates]

    def kept(self, candidate: Candidate) -> list[Result]:
        """The results of a candidate that are there already; nobody is asked."""
        done = read_results(candidate.folder)
        results = [done[q.id] for q in self.questions(candidate.specialist) if q.id in done]
        return self._judged(candidate.specialist, results)

    def _judged(self, name: str, results: Sequence[Result]) -> list[Result]:
        """The results as sure as the specialist is at present: what it was fitted with may have changed since."""
        calibration, shipped = calibration_of(self.blueprint), fitted_for(self.blueprint.base_of(name))
        return [
            r.model_copy(update={"confidence": calibration.probability(shipped.logit(r.measures))})
            if shipped.weights.keys() <= r.measures.keys()
            else r
            for r in results
        ]

    def _results(self, candidate: Candidate, engines: Mapping[str, Engine]) -> list[Result]:
        name, questions = candidate.specialist, self.questions(candidate.specialist)
        if not missing(questions, candidate.folder):
            done = read_results(candidate.folder)
            return [done[q.id] for q in questions]
        plan, knowledge = self.blueprint, self.knowledge.get(name)
        runtime = Runtime(self.embedder, self.bases, engines)
        specialist = open_specialist(
            plan,
            name,
            runtime,
            knowledge,
            candidate.adapter,
            classifier=candidate.classifier,
            calibration=AS_SHIPPED,
            dry=True,
        )
        ground = Ground(knowledge.text if knowledge else None, specialist.resources)
        budget = Budget(**plan.card.budget.model_dump(exclude={"tool_seconds"}))
        progress = part_of(self.progress, f"{name}: {candidate.system}")
        return ask_questions(specialist, questions, candidate.folder, ground, progress, budget)

    def _candidate(self, name: str, system: str, adapter: Adapter, *, classifier: bool) -> Candidate:
        plan, card = self.blueprint, self.blueprint.specialists[name]
        knowledge = self.knowledge.get(name)
        version = version_of(plan, name, self.bases, knowledge, adapter, classifier=classifier, calibration=AS_SHIPPED)
        database = plan.folders[name] / (card.database or "")
        if card.database and database.is_file():
            # Rows change while the version stays; what was said of the old ones is worth nothing.
            version = fingerprint(version, sha256(database), plan.tasks(name))
        return Candidate(name, system, adapter, classifier, version, plan.state / EVALUATIONS / version)


def evaluate(
    team: Blueprint | Path | str,
    specialists: Sequence[str] = (),
    systems: Sequence[str] = SYSTEMS,
    *,
    store: ModelStore | None = None,
    progress: Progress = no_progress,
    limit: int | None = None,
    seed: int = 0,
    fresh: bool = False,
) -> EvaluationReport:
    """How good some specialists of a built team are (or all), by each of the systems that they could work with.

    Args:
        team: Its folder, or its blueprint.
        systems: Of `SYSTEMS`; those that a specialist does not have are left out.
        limit, seed: At most so many questions of each specialist, drawn with the seed.
        fresh: Forget all results, and ask again.

    Raises:
        InputError: an unknown specialist or system.
        ConfigError: an evaluation set is wrong.
        StateError: the team is not built, or another process evaluates the same version.
    """
    plan = blueprint_at(team)
    with open_evaluation(plan, progress, store=store, limit=limit, seed=seed, fresh=fresh) as evaluation:
        return compare(evaluation, specialists or list(plan.specialists), systems)


def compare(evaluation: Evaluation, names: Sequence[str], systems: Sequence[str] = SYSTEMS) -> EvaluationReport:
    """Evaluate specialists, each with all of `systems` that it has.

    Raises:
        InputError: an unknown specialist or system.
        ConfigError: an evaluation set is wrong.
        StateError: another process evaluates the same version.
    """
    plan = evaluation.blueprint
    _check_asked("specialist", names, plan.specialists)
    _check_asked("system", systems, SYSTEMS)
    sets = {name: evaluation.questions(name) for name in names}
    left_out = {name: NO_SET for name, questions in sets.items() if not questions}
    candidates = [t for name in names if name not in left_out for t in evaluation.candidates(name, systems)]
    results = dict(zip(((t.specialist, t.system) for t in candidates), evaluation.run(candidates), strict=True))
    summaries = []
    for name in names:
        mine = [t for t in candidates if t.specialist == name]
        if mine:
            style = plan.style(name)
            pairs = [(t.system, t.version) for t in mine]
            answered = [results[name, t.system] for t in mine]
            summaries.append(summarise(name, style.name, style.scoring, threshold(plan, name), pairs, answered))
        elif name not in left_out:
            left_out[name] = f"it has none of: {', '.join(systems)}"
    bases = ", ".join(dict.fromkeys(plan.base_of(name) for name in names))
    return EvaluationReport(team=plan.card.name, base=bases, specialists=tuple(summaries), left_out=left_out)


def measured(plan: Blueprint, knowledge: Mapping[str, Knowledge], embedder: Embedder) -> list[Summary]:
    """What is known of the systems in use from evaluations that were made: asks nobody anything.

    Raises:
        ConfigError: an evaluation set is wrong.
        ModelNotPulled: the base is not on this machine.
    """
    evaluation = Evaluation(plan, find_bases(plan, ModelStore()), embedder, knowledge, no_progress)
    summaries = []
    for name in plan.specialists:
        used = evaluation.in_use(name)
        if results := evaluation.kept(used):
            style, pair = plan.style(name), [(IN_USE, used.version)]
            summaries.append(summarise(name, style.name, style.scoring, threshold(plan, name), pair, [results]))
    return summaries


def _check_asked(kind: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(unknown(kind, name, known))


def threshold(blueprint: Blueprint, name: str) -> float:
    """The confidence below which a specialist refuses."""
    said = (
        blueprint.specialists[name].abstain_below,
        blueprint.card.abstain_below,
        blueprint.style(name).abstain_below,
    )
    return next(least for least in said if least is not None)


# Opening a team that was built, to be evaluated.


@contextmanager
def open_evaluation(
    blueprint: Blueprint,
    progress: Progress,
    *,
    store: ModelStore | None = None,
    limit: int | None = None,
    seed: int = 0,
    fresh: bool = False,
) -> Iterator[Evaluation]:
    """The team's documents as they were last built, and its base, unless a server runs that.

    Args:
        limit, seed: At most so many questions of each specialist, drawn with the seed.
        fresh: Forget all results, and ask again.

    Raises:
        StateError: the team is not built.
    """
    store = store or ModelStore()
    bases = find_bases(blueprint, store)
    if not (blueprint.state / "build.json").is_file():
        raise StateError(f"team '{blueprint.card.name}' is not built", hint=f"metier build -t {blueprint.root}")
    if fresh:
        shutil.rmtree(blueprint.state / EVALUATIONS, ignore_errors=True)
    embedder = load_embedder(blueprint.card.embedder, store)
    named = [name for name, card in blueprint.specialists.items() if card.knowledge]
    knowledge = {name: open_knowledge(blueprint, name, embedder) for name in named}
    try:
        yield Evaluation(blueprint, bases, embedder, knowledge, progress, limit, seed)
    finally:
        for opened in knowledge.values():
            opened.close()
