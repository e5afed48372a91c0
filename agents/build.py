"""From cards and documents to a team that can start: runs only what changed since the last build."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from filelock import FileLock, Timeout

from ..core.embedding import Embedder
from ..core.errors import ConfigError, StateError, ToolUnreachable
from ..core.files import saying_full, writable, write_atomic
from ..core.models import ModelStore
from ..core.onnx_embedder import load_embedder
from ..core.run import Progress, no_progress, part_of
from ..core.types import Answer, Brief, Value
from ..router.decision import RouteRules
from ..router.features import Example
from ..router.router import PASSAGES, Router
from ..specialists.adapters.choose import adapter_version, loadable, trained_on
from ..specialists.evaluation.statistics import judge
from ..specialists.knowledge.build import IndexReport, changed_documents
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.styles.label.classifier import LABEL_FORM, LabelClassifier, Labelled
from ..specialists.styles.label.style import LABEL
from ..tools.registry import build_tools
from ..tools.tool import ToolContext
from .assemble import (
    Bases,
    BuildRecord,
    Comparison,
    Runtime,
    adapter_of,
    classifier_path,
    comparison_path,
    decisions,
    engine_name,
    find_bases,
    knowledge_folder,
    open_specialist,
    version_of,
)
from .calibrate import Refit, discard_unusable, has_unusable, refit_confidence
from .cards import Blueprint, blueprint_at, fingerprint
from .engines import open_engines
from .evaluate import Evaluation, threshold
from .feedback import answered_examples
from .guardrails import build_guards
from .workflows.files import read_plans
from .workflows.store import router_examples

_log = logging.getLogger(__name__)

# The gate of a team: challengers that are better than what is in use become champions; others stay, with a reason.


Gate = Literal["promote", "hold", "off"]
"""What is done with challengers: evaluate and promote the better ones, only evaluate, or nothing."""


class Promotion(Value):
    """What the gate did with one challenger."""

    specialist: str
    challenger: str
    promoted: bool
    why: str
    """And what can be done about it."""
    measured: str = ""
    """Only what the comparison said."""
    better: bool = False
    """It passed the gate, promoted or held back."""


def decide(
    blueprint: Blueprint,
    bases: Bases,
    embedder: Embedder,
    knowledge: Mapping[str, Knowledge],
    progress: Progress,
    gate: Gate,
) -> list[Promotion]:
    """Evaluate every challenger on its specialist's own questions, and promote the better ones.

    Without challengers nothing is done. Answers are kept, so that the next build decides from what it knows.

    Args:
        bases: None when a server runs them: nothing is decided then.

    Raises:
        IntegrityError: a challenger was changed after it was made.
    """
    waiting = [name for name in blueprint.specialists if blueprint.registry.state(name).challenger]
    if gate == "off" or not waiting or not bases:
        return []
    evaluation = Evaluation(blueprint, bases, embedder, knowledge, progress)
    return [_decide(evaluation, name, hold=gate == "hold") for name in waiting]


def _decide(evaluation: Evaluation, name: str, *, hold: bool) -> Promotion:
    plan, registry = evaluation.blueprint, evaluation.blueprint.registry
    version = registry.find(name, "challenger")
    better, why = _compare(evaluation, name)
    if better and not hold:
        registry.promote(name, version.id, why)
        return Promotion(specialist=name, challenger=version.id, promoted=True, why=why, measured=why, better=True)
    measured = why
    if better:
        why = f"held back; {why}. Promote it: metier registry promote {name} -t {plan.root}"
    registry.keep_back(name, why)
    return Promotion(specialist=name, challenger=version.id, promoted=False, why=why, measured=measured, better=better)


def _compare(evaluation: Evaluation, name: str) -> tuple[bool, str]:
    """Whether the challenger is better, and why."""
    plan = evaluation.blueprint
    if not trained_on(plan.registry.find(name, "challenger").path, plan.base_of(name)):
        return False, f"it was trained for another base than {plan.base_of(name)}"
    if not evaluation.questions(name):
        return False, "the card names no `evaluation` set to decide by"
    (challenger,), used = evaluation.candidates(name, ["challenger"]), evaluation.in_use(name)
    if challenger.version == used.version:
        return False, f"it is what '{name}' works with already"
    mine, theirs = evaluation.run([challenger, used])
    champion = plan.registry.state(name).champion
    own = Path(used.adapter).name if used.adapter else "none"
    incumbent = f"champion {champion}" if champion else f"the card's adapter ({own})"
    judged = judge(mine, theirs, plan.style(name).scoring, threshold(plan, name), incumbent)
    return judged.better, judged.why


# Trained classifiers of those who label: fitted here, and used where they do better than the model.


LEAST = 20
"""Labelled examples below which there is nothing to fit."""


ASKED = 40
"""Examples that the language model is asked, for the comparison."""


def fit_classifiers(plan: Blueprint, runtime: Runtime, progress: Progress) -> None:
    """Fit and compare the classifiers of all specialists that label and have examples; only where something changed.

    Where a server runs the model nothing is compared, and there are no classifiers.
    """
    for name, card in plan.specialists.items():
        rows = _labelled(plan, name, runtime.embedder) if card.style == LABEL.name else []
        base = runtime.bases.get(plan.base_of(name))
        if base is None or len(rows) < LEAST or len({row.answers for row in rows}) < 2:
            classifier_path(plan, name).unlink(missing_ok=True)
            comparison_path(plan, name).unlink(missing_ok=True)
            continue
        adapter = loadable(adapter_of(plan, name), base, plan.card.engine)
        needs = (
            LABEL_FORM,
            [(r.text, r.answers) for r in rows],
            card.labels,
            runtime.embedder.name,
            base.sha256("gguf"),
        )
        made_of = fingerprint(*needs, adapter_version(adapter))
        before = Comparison.read(plan, name)
        if before and before.made_of == made_of and classifier_path(plan, name).is_file():
            continue
        progress(f"{name}: comparing classifier and model", 0, 1)
        classifier = LabelClassifier.fit(rows, runtime.embedder)
        classifier.save(classifier_path(plan, name))
        model = _accuracy_of_model(plan, name, rows[:: max(1, len(rows) // ASKED)], runtime)
        comparison = Comparison(made_of=made_of, head=classifier.accuracy or 0.0, model=model)
        write_atomic(comparison_path(plan, name), comparison.model_dump_json(indent=2))
        progress(f"{name}: comparing classifier and model", 1, 1)


def _accuracy_of_model(plan: Blueprint, name: str, rows: Sequence[Labelled], runtime: Runtime) -> float:
    """Share of the rows that the language model labels right, without documents."""
    adapter = adapter_of(plan, name)
    file = engine_name(plan, name, adapter, runtime.bases)
    with open_engines(plan, runtime.bases, [(name, file)]) as engines:
        own = replace(runtime, engines=engines)
        specialist = open_specialist(plan, name, own, None, adapter, classifier=False, dry=True)
        answers = [specialist.run(Brief(task=row.text)) for row in rows]
    pairs = zip(answers, rows, strict=True)
    return sum(isinstance(answer, Answer) and answer.text in row.answers for answer, row in pairs) / len(rows)


def _labelled(plan: Blueprint, name: str, embedder: Embedder) -> list[Labelled]:
    card = plan.specialists[name]
    rows = answered_examples(plan, name, embedder)
    return [Labelled(row["input"], (row["answer"],)) for row in rows if row["answer"] in card.labels]


FEW = 5
"""Specialists with fewer example tasks than this are also known to the router by their documents. With more, documents
hardly help and let foreign tasks through (docs/log-router.md)."""


class BuildReport(Value):
    """What a build did."""

    team: str
    knowledge: dict[str, IndexReport]
    """Specialist to what happened to its documents."""
    router_fitted: bool
    gate: tuple[Promotion, ...] = ()
    """What became of challengers."""
    confidence: Refit | None = None
    """What became of the confidence; None for a team without questions of its own."""
    seconds: float

    def lines(self) -> list[str]:
        """The report for people."""
        lines = []
        for name, report in self.knowledge.items():
            changes = [("new", report.added), ("changed", report.changed), ("removed", report.removed)]
            changes += [("renamed", tuple(report.renamed))]
            done = ", ".join(f"{len(files)} {word}" for word, files in changes if files) or "nothing changed"
            lines.append(f"{name}: {done}; {report.passages} passages")
            lines += [f"  skipped {source}: {reason}" for source, reason in report.skipped.items()]
            lines += [f"  {source}: {note}" for source, notes in report.notes.items() for note in notes]
        lines.append(f"router: {'fitted' if self.router_fitted else 'nothing changed'}")
        for verdict in self.gate:
            did = "is the champion now" if verdict.promoted else "stays the challenger"
            lines.append(f"{verdict.specialist}: {verdict.challenger} {did}: {verdict.why}")
        if self.confidence:
            lines.append(f"confidence: {self.confidence}")
        lines.append(f"{self.team} is ready ({self.seconds:.1f} s)")
        return lines


def build(
    team: Blueprint | Path | str,
    *,
    store: ModelStore | None = None,
    progress: Progress = no_progress,
    fresh: bool = False,
    gate: Gate = "off",
    confidence: bool = False,
) -> BuildReport:
    """Index the documents, fit router and confidence, let better challengers through. A crash leaves the last build
    usable.

    Args:
        team: Its folder, or its blueprint.
        store: Where models are; None is the user's cache.
        fresh: Build everything anew; threads are kept.
        gate: `promote` challengers that are better, `hold` them after evaluating, or leave them alone (`off`): to
            evaluate one takes minutes.
        confidence: Ask the specialists in use the team's evaluation questions that they have not answered yet, a
            second or more each, so that the confidence is fitted to all. Left out, it is fitted to the answers that
            earlier evaluations kept.

    Raises:
        ConfigError: a card or example file is wrong.
        KnowledgeError: none of a specialist's documents can be read.
        ModelNotPulled: the team's models are not on this machine.
        StateError: another build of this team is running, or the disk is full or read-only.
    """
    start, blueprint = perf_counter(), blueprint_at(team)
    store = store or ModelStore()
    check_names(blueprint)
    bases, embedder = find_bases(blueprint, store), load_embedder(blueprint.card.embedder, store)
    if not writable(blueprint.state):
        raise StateError(f"{blueprint.state} cannot be written", hint="build the team where its folder can be written")
    try:
        with (
            saying_full(f"team '{blueprint.card.name}' could not be built"),
            FileLock(blueprint.state / "build.lock", timeout=0),
        ):
            if fresh:
                _forget(blueprint)
            knowledge, fitted, verdicts, refit = _run(blueprint, bases, embedder, progress, gate, ask=confidence)
    except Timeout as error:
        raise StateError(f"another build of '{blueprint.card.name}' is running", hint="wait for it to end") from error
    reports = {name: opened.report for name, opened in knowledge.items() if opened.report}
    for opened in knowledge.values():
        opened.close()
    return BuildReport(
        team=blueprint.card.name,
        knowledge=reports,
        router_fitted=fitted,
        gate=tuple(verdicts),
        confidence=refit,
        seconds=perf_counter() - start,
    )


def _run(
    blueprint: Blueprint, bases: Bases, embedder: Embedder, progress: Progress, gate: Gate, *, ask: bool
) -> tuple[dict[str, Knowledge], bool, list[Promotion], Refit | None]:
    """The open indexes, whether the router was fitted, what the gate did, and what became of the confidence. The
    manifest is written last."""
    discard_unusable(blueprint)
    with_documents = [name for name, card in blueprint.specialists.items() if card.knowledge]
    knowledge = {name: _index(blueprint, name, embedder, progress) for name in with_documents}
    last, needs = BuildRecord.read(blueprint.state), _router_needs(blueprint, embedder, knowledge)
    fitted = last is None or last.router != fingerprint(needs) or not (blueprint.state / "router").exists()
    if fitted:
        _fit_router(needs, blueprint.state / "router", embedder, progress)
    fit_classifiers(blueprint, Runtime(embedder, bases), progress)
    verdicts = decide(blueprint, bases, embedder, knowledge, progress, gate)
    refit = refit_confidence(Evaluation(blueprint, bases, embedder, knowledge, progress), ask=ask)
    adapters = {name: adapter_of(blueprint, name) for name in blueprint.specialists}
    for name, adapter in adapters.items():
        engine_name(blueprint, name, adapter, bases, progress)  # What it loads is made now, not when the team starts.
    versions = {n: version_of(blueprint, n, bases, knowledge.get(n), adapter) for n, adapter in adapters.items()}
    manifest = BuildRecord(cards=_cards(blueprint), router=fingerprint(needs), versions=versions)
    write_atomic(blueprint.state / "build.json", manifest.model_dump_json(indent=2))
    return knowledge, fitted, verdicts, refit


def _forget(blueprint: Blueprint) -> None:
    (blueprint.state / "build.json").unlink(missing_ok=True)
    shutil.rmtree(blueprint.state / "knowledge", ignore_errors=True)


def check_names(blueprint: Blueprint) -> None:
    """Do all names in the cards exist? Better asked now than in the first turn. A server that is away is only told.

    Raises:
        ConfigError: an unknown style, guardrail or tool.
        MissingExtra: a tool or guardrail whose library is not installed.
    """
    build_guards(blueprint.card.guardrails, "in", folders=[blueprint.root])
    taken = sorted({*read_plans(blueprint.root)} & {*blueprint.specialists})
    if taken:
        raise ConfigError(f"a workflow and a specialist are both called {', '.join(taken)}", hint="rename the workflow")
    for name, card in blueprint.specialists.items():
        blueprint.style(name)
        search = (lambda _: []) if card.knowledge else None
        try:
            build_tools(card.tools, ToolContext(blueprint.folders[name], search=search, team=blueprint.root))
        except ToolUnreachable as error:
            _log.warning("specialist '%s' cannot work at present: %s", name, error)


def changed_since_build(blueprint: Blueprint) -> list[str] | None:
    """Names of what is not as it was built; None when there is no build. Contents count: a copy is not a change."""
    manifest = BuildRecord.read(blueprint.state)
    if manifest is None or set(manifest.versions) != set(blueprint.specialists):
        return None
    changed = ["cards or examples"] if manifest.cards != _cards(blueprint) else []
    changed += ["what its confidence was fitted on"] if has_unusable(blueprint) else []
    built = (blueprint.state / "build.json").stat().st_mtime
    for name, card in blueprint.specialists.items():
        if card.knowledge:
            sources, store = _sources(blueprint, name), knowledge_folder(blueprint, name)
            changed += changed_documents(sources, store, card.knowledge, blueprint.root, built)
    return changed


def _sources(blueprint: Blueprint, name: str) -> list[Path]:
    card = blueprint.specialists[name].knowledge
    return [blueprint.folders[name] / source for source in card.sources] if card else []


def _index(blueprint: Blueprint, name: str, embedder: Embedder, progress: Progress) -> Knowledge:
    return Knowledge.build(
        _sources(blueprint, name),
        knowledge_folder(blueprint, name),
        embedder,
        blueprint.specialists[name].knowledge,
        root=blueprint.root,
        progress=part_of(progress, name),
    )


def _router_needs(blueprint: Blueprint, embedder: Embedder, knowledge: dict[str, Knowledge]) -> dict[str, Any]:
    """All that the router learns from."""
    cards, workflows = blueprint.specialists.items(), read_plans(blueprint.root)
    about = {name: plan.description for name, plan in workflows.items()}
    return {
        "examples": {**{name: blueprint.tasks(name) for name, _ in cards}, **router_examples(workflows)},
        "outside": blueprint.outside(),
        "descriptions": {**{name: card.description for name, card in cards}, **about},
        "documents": {n: k.sample(PASSAGES) for n, k in knowledge.items() if len(blueprint.tasks(n)) < FEW},
        "corrections": [e.model_dump() for e in decisions(blueprint).corrections()],
        "rules": {name: card.route.model_dump() for name, card in cards},
        "false_refusal": blueprint.card.router.false_refusal,
        "embedder": embedder.name,
    }


def _fit_router(needs: dict[str, Any], folder: Path, embedder: Embedder, progress: Progress) -> None:
    progress("router: learning", 0, 1)
    corrections = [Example(**correction) for correction in needs["corrections"]]
    rules = {name: RouteRules(**rule) for name, rule in needs["rules"].items()}
    lesson = {name: value for name, value in needs.items() if name != "corrections"}
    router = Router.fit(**{**lesson, "rules": rules, "embedder": embedder})
    (router.corrected(corrections) if corrections else router).save(folder)
    progress("router: learning", 1, 1)


def _cards(blueprint: Blueprint) -> str:
    # Who may see what, how much, and in what memory, changes nothing of what is built.
    cards = {name: card.model_dump(exclude={"groups"}) for name, card in blueprint.specialists.items()}
    tasks = {name: blueprint.tasks(name) for name in blueprint.specialists}
    team = blueprint.card.model_dump(exclude={"access", "limits", "ram"})
    plans = [plan.model_dump(mode="json") for plan in read_plans(blueprint.root).values()]
    return fingerprint(team, cards, tasks, blueprint.outside(), *plans)
