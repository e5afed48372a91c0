"""From cards and documents to a team that can start: runs only what changed since the last build."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from ..core.embedding import Embedder
from ..core.errors import StateError
from ..core.files import write_atomic
from ..core.models import LocalModel, ModelStore
from ..core.onnx_embedder import load_embedder
from ..core.types import Value
from ..router.example import Example
from ..router.log import DecisionLog
from ..router.router import PASSAGES, Router
from ..router.rules import RouteRules
from ..specialists.knowledge.build import Report
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.styles import find_style
from ..tools.context import ToolContext
from ..tools.registry import build_tools
from .blueprint import Blueprint, fingerprint
from .gate import Gate, Verdict, decide
from .guardrails import build_guards
from .heads import fit_heads
from .versions import adapter_of, engine_name, version_of

FEW = 5
"""Specialists with fewer example tasks than this are also known to the router by their documents. With more, documents
hardly help and let foreign tasks through (docs/log-router.md)."""

Progress = Callable[[str, int, int], None]
"""Called with the work's name, how much of it is done, and how much there is."""


def ignore(what: str, done: int, of: int) -> None:
    """The `Progress` of those who do not look."""


class Manifest(Value):
    """What a build was made of; kept as `.metier/build.json`, which is written last."""

    cards: str
    """Fingerprint of all cards and example files."""
    router: str
    """Fingerprint of all that the router was fitted on."""
    versions: dict[str, str]
    """Specialist to version: a fingerprint of its card, documents, base and adapter."""

    @classmethod
    def read(cls, state: Path) -> Manifest | None:
        """The last finished build; None when there is none.

        Raises:
            StateError: the file cannot be read.
        """
        path = state / "build.json"
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise StateError(f"{path} is damaged: {error.errors()[0]['msg']}", hint="metier build --fresh") from error


class BuildReport(Value):
    """What a build did."""

    team: str
    knowledge: dict[str, Report]
    """Specialist to what happened to its documents."""
    router_fitted: bool
    gate: tuple[Verdict, ...] = ()
    """What became of challengers."""
    seconds: float

    def lines(self) -> list[str]:
        """The report for people."""
        lines = []
        for name, report in self.knowledge.items():
            changes = [("new", report.added), ("changed", report.changed), ("removed", report.removed)]
            done = ", ".join(f"{len(files)} {word}" for word, files in changes if files) or "nothing changed"
            lines.append(f"{name}: {done}; {report.passages} passages")
            lines += [f"  skipped {source}: {reason}" for source, reason in report.skipped.items()]
        lines.append(f"router: {'fitted' if self.router_fitted else 'nothing changed'}")
        for verdict in self.gate:
            did = "is the champion now" if verdict.promoted else "stays the challenger"
            lines.append(f"{verdict.specialist}: {verdict.challenger} {did}: {verdict.why}")
        lines.append(f"{self.team} is ready ({self.seconds:.1f} s)")
        return lines


def build(
    blueprint: Blueprint,
    *,
    store: ModelStore | None = None,
    progress: Progress = ignore,
    fresh: bool = False,
    gate: Gate = "off",
) -> BuildReport:
    """Index the documents, fit the router, let better challengers through. A crash leaves the last build usable.

    Args:
        store: Where models are; None is the user's cache.
        fresh: Build everything anew; threads are kept.
        gate: `promote` challengers that are better, `hold` them after evaluating, or leave them alone (`off`): to
            evaluate one takes minutes.

    Raises:
        ConfigError: a card or example file is wrong.
        KnowledgeError: none of a specialist's documents can be read.
        ModelNotPulled: the team's models are not on this machine.
        StateError: another build of this team is running.
    """
    start = perf_counter()
    store = store or ModelStore()
    check_names(blueprint)
    base, embedder = find_base(blueprint, store), load_embedder(blueprint.card.embedder, store)
    blueprint.state.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(blueprint.state / "build.lock", timeout=0):
            if fresh:
                _forget(blueprint)
            knowledge, fitted, verdicts = _run(blueprint, base, embedder, progress, gate)
    except Timeout as error:
        raise StateError(f"another build of '{blueprint.card.name}' is running", hint="wait for it to end") from error
    reports = {name: opened.report for name, opened in knowledge.items() if opened.report}
    for opened in knowledge.values():
        opened.close()
    seconds = perf_counter() - start
    team = blueprint.card.name
    return BuildReport(team=team, knowledge=reports, router_fitted=fitted, gate=tuple(verdicts), seconds=seconds)


def _run(
    blueprint: Blueprint, base: LocalModel | None, embedder: Embedder, progress: Progress, gate: Gate
) -> tuple[dict[str, Knowledge], bool, list[Verdict]]:
    """The open indexes, whether the router was fitted, and what the gate did. The manifest is written last."""
    with_documents = [name for name, card in blueprint.specialists.items() if card.knowledge]
    knowledge = {name: _index(blueprint, name, embedder, progress) for name in with_documents}
    last, needs = Manifest.read(blueprint.state), _router_needs(blueprint, embedder, knowledge)
    fitted = last is None or last.router != fingerprint(needs) or not (blueprint.state / "router").exists()
    if fitted:
        _fit_router(needs, blueprint.state / "router", embedder, progress)
    fit_heads(blueprint, base, embedder, lambda name: adapter_of(blueprint, name), progress)
    verdicts = decide(blueprint, base, embedder, knowledge, progress, gate)
    adapters = {name: adapter_of(blueprint, name) for name in blueprint.specialists}
    for name, adapter in adapters.items():
        engine_name(blueprint, name, adapter, base, progress)  # What it loads is made now, not when the team starts.
    versions = {n: version_of(blueprint, n, base, knowledge.get(n), adapter) for n, adapter in adapters.items()}
    manifest = Manifest(cards=_cards(blueprint), router=fingerprint(needs), versions=versions)
    write_atomic(blueprint.state / "build.json", manifest.model_dump_json(indent=2))
    return knowledge, fitted, verdicts


def _forget(blueprint: Blueprint) -> None:
    (blueprint.state / "build.json").unlink(missing_ok=True)
    shutil.rmtree(blueprint.state / "knowledge", ignore_errors=True)


def check_names(blueprint: Blueprint) -> None:
    """Do all names in the cards exist? Better asked now than in the first turn.

    Raises:
        ConfigError: an unknown style, guardrail or tool.
        MissingExtra: a tool or guardrail whose library is not installed.
    """
    build_guards(blueprint.card.guardrails, "in")
    for name, card in blueprint.specialists.items():
        find_style(card.style)
        build_tools(card.tools, ToolContext(blueprint.folders[name], search=(lambda _: []) if card.knowledge else None))


def changed_since_build(blueprint: Blueprint) -> list[str] | None:
    """Names of what is newer than the build; None when there is no build."""
    manifest = Manifest.read(blueprint.state)
    if manifest is None or set(manifest.versions) != set(blueprint.specialists):
        return None
    changed = ["cards or examples"] if manifest.cards != _cards(blueprint) else []
    built = (blueprint.state / "build.json").stat().st_mtime
    for name in blueprint.specialists:
        for source in _sources(blueprint, name):
            files = [source] if source.is_file() else source.rglob("*")
            changed += [os.path.relpath(f, blueprint.root) for f in files if f.is_file() and f.stat().st_mtime > built]
    return changed


def knowledge_folder(blueprint: Blueprint, name: str) -> Path:
    """Where the index of a specialist is kept."""
    return blueprint.state / "knowledge" / name


def decisions(blueprint: Blueprint) -> DecisionLog:
    """Where the team's routes, and what people said of them, are kept."""
    return DecisionLog(blueprint.state / "decisions.jsonl")


def find_base(blueprint: Blueprint, store: ModelStore) -> LocalModel | None:
    """The team's base on this machine; None when a server runs it."""
    return None if blueprint.card.served else store.find(blueprint.card.base)


def _sources(blueprint: Blueprint, name: str) -> list[Path]:
    card = blueprint.specialists[name].knowledge
    return [blueprint.folders[name] / source for source in card.sources] if card else []


def _index(blueprint: Blueprint, name: str, embedder: Embedder, progress: Progress) -> Knowledge:
    def tell(done: int, of: int, source: str) -> None:
        progress(f"{name}: reading", done, of)

    return Knowledge.build(
        _sources(blueprint, name),
        knowledge_folder(blueprint, name),
        embedder,
        blueprint.specialists[name].knowledge,
        root=blueprint.root,
        progress=tell,
    )


def _router_needs(blueprint: Blueprint, embedder: Embedder, knowledge: dict[str, Knowledge]) -> dict[str, Any]:
    """All that the router learns from."""
    cards = blueprint.specialists.items()
    return {
        "examples": {name: blueprint.tasks(name) for name, _ in cards},
        "outside": blueprint.outside(),
        "descriptions": {name: card.description for name, card in cards},
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
    cards = {name: card.model_dump() for name, card in blueprint.specialists.items()}
    tasks = {name: blueprint.tasks(name) for name in blueprint.specialists}
    return fingerprint(blueprint.card.model_dump(), cards, tasks, blueprint.outside())
