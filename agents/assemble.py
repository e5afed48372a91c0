"""Opening a specialist, for whoever needs one; where the files of a team are; what its version is made of."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from ..core.embedding import Embedder
from ..core.errors import ModelError, StateError, ToolUnreachable
from ..core.files import sha256
from ..core.models import LocalModel, ModelStore
from ..core.onnx_embedder import load_embedder
from ..core.run import Progress, no_progress, part_of
from ..core.types import Value
from ..router.log import DecisionLog
from ..specialists.adapters.choose import Adapter, adapter_version, in_use, loadable, on_server
from ..specialists.adapters.publish import publish
from ..specialists.card import KnowledgeCard
from ..specialists.confidence import AS_SHIPPED, PlattScaling, fitted_for
from ..specialists.engines import Engine
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.specialist import Specialist
from ..specialists.styles.style import Opening
from ..tools.registry import build_tools
from ..tools.runner import Ledger, ToolRunner
from ..tools.session import SpecialistTools, WaitingTools
from ..tools.tool import ToolContext
from .cards import Blueprint, fingerprint
from .guardrails import GUARDS_EMBEDDER, build_guards
from .guardrails.guard import Guard, sift
from .guardrails.injection import injection_head
from .journal import GraphJournal, ask_person, between

_log = logging.getLogger(__name__)


Bases = Mapping[str, LocalModel]
"""The bases of a team by name; empty where a server runs them."""


@dataclass(frozen=True)
class Runtime:
    """What the specialists of a team have in common while they work."""

    embedder: Embedder
    bases: Bases
    engines: Mapping[str, Engine] = field(default_factory=dict)
    """Base to the engine that runs it; none for specialists that only make lessons."""
    ledger: Ledger | None = None
    """Where effects of tools are noted; None for those whose tools are not run."""


def open_specialist(
    plan: Blueprint,
    name: str,
    runtime: Runtime,
    knowledge: Knowledge | None,
    adapter: Adapter,
    *,
    classifier: bool = True,
    calibration: PlattScaling | None = None,
    dry: bool = False,
) -> Specialist:
    """A specialist with all that its card names: whoever wants one (a team, an evaluation, training) gets it here.

    Args:
        knowledge: Its documents, opened; whoever opened them closes them.
        adapter: As published (`adapter_of` says which one is in use).
        classifier: Use its trained classifier, if the build found it to do better than the model.
        calibration: How its confidence is corrected; left out, as the build found the team's own questions to say.
        dry: To be judged, not to act: tools are not run, nothing is refused, no guard looks at passages.

    Raises:
        ConfigError: a tool, a database or an adapter on the card is not there.
        MissingExtra: a tool whose library is not installed.
        StateError: a file of the build is damaged.
    """
    card, style, engine = plan.specialists[name], plan.style(name), runtime.engines.get(plan.base_of(name))
    opening = Opening(
        card=card,
        root=plan.root,
        folder=plan.folders[name],
        embedder=runtime.embedder,
        adapter=adapter,
        classifier=classifier_in_use(plan, name) if classifier else None,
        rows=partial(plan.example_rows, name),
    )
    corrected = calibration or calibration_of(plan)
    return Specialist(
        card.model_copy(update={"abstain_below": 0.0}) if dry else card,
        engine,
        knowledge,
        adapter=engine_name(plan, name, adapter, runtime.bases) if engine else None,
        tools=_open_tools(plan, name, runtime, knowledge, dry=dry),
        style=style,
        resources=style.open(opening) if style.open else None,
        sift=None if dry else sift(_guards_between(plan, runtime)),
        journal=None if dry else GraphJournal(),
        abstain_below=plan.card.abstain_below,
        base=plan.base_of(name),
        calibration=corrected,
        version=version_of(plan, name, runtime.bases, knowledge, adapter, classifier=classifier, calibration=corrected),
    )


def limited(specialist: Specialist, plan: Blueprint, runtime: Runtime, knowledge: Knowledge | None) -> Specialist:
    """The same specialist for somebody who may see only some of its documents and colleagues.

    Args:
        specialist: As it was opened for the team; its model and what its style opened are shared.
        plan: The cards that this somebody may know of.
        runtime: What it was opened with.
        knowledge: The documents that may be seen.
    """
    name = specialist.card.name
    part = copy(specialist)
    part.card, part.knowledge = plan.specialists[name], knowledge
    if knowledge is not specialist.knowledge:
        part.seen = fingerprint([document.source for document in knowledge.documents()] if knowledge else [])
        part.tools = _open_tools(plan, name, runtime, knowledge, dry=False)
    return part


def _open_tools(
    plan: Blueprint, name: str, runtime: Runtime, knowledge: Knowledge | None, *, dry: bool
) -> SpecialistTools | WaitingTools | None:
    """The tools of a specialist, under the team's policy; None when its card names none.

    A server that does not answer is the trouble of this specialist alone, and asked again when it has work.
    """
    card = plan.specialists[name]
    if not card.tools:
        return None
    search = (lambda text: knowledge.search(text)) if knowledge else (lambda _: []) if card.knowledge else None
    context = ToolContext(plan.folders[name], None if dry else plan.state / "output", search, plan.root)
    if dry:
        return SpecialistTools(build_tools(card.tools, context), dry=True)

    def make() -> SpecialistTools:
        tools = build_tools(card.tools, context)
        return SpecialistTools(
            tools,
            rules=plan.card.policy,
            runner=ToolRunner(tools, seconds=plan.card.budget.tool_seconds, ledger=runtime.ledger),
            journal=GraphJournal(),
            ask=ask_person if plan.card.memory.checkpoints != "none" else None,
            check=between(_guards_between(plan, runtime)),
        )

    try:
        return make()
    except ToolUnreachable as error:
        _log.warning("specialist '%s' cannot work: %s", name, error)
        return WaitingTools(make, error)


def _guards_between(plan: Blueprint, runtime: Runtime) -> Guard:
    return build_guards(plan.card.guardrails, "between", guards_embedder(runtime.embedder), [plan.root])


def guards_embedder(embedder: Embedder) -> Embedder:
    """The embedder that the guards' heads know, whatever the team's is; without it they go by words alone."""
    if embedder.name == injection_head("injection").embedder:
        return embedder
    try:
        return load_embedder(GUARDS_EMBEDDER)
    except ModelError:
        return embedder


# The version of a specialist: one short hash of all that its answers depend on.


def adapter_of(blueprint: Blueprint, name: str) -> Adapter:
    """The adapter that a specialist works with: the registry's champion, or what its card says; the latter on a server
    that has its adapters.

    Raises:
        ConfigError: the card names neither a file nor a skill.
        IntegrityError: the champion was changed after it was made.
    """
    card, folder = blueprint.specialists[name], blueprint.folders[name]
    if blueprint.card.served and not blueprint.published:
        return on_server(card)
    return in_use(card, folder, blueprint.base_of(name), blueprint.registry.champion(name))


def version_of(
    blueprint: Blueprint,
    name: str,
    bases: Bases,
    knowledge: Knowledge | None,
    adapter: Adapter,
    *,
    classifier: bool = True,
    calibration: PlattScaling | None = None,
) -> str:
    """Card, examples, documents, base, adapter, classifier and the team's calibration in 12 hex digits; stands in every
    answer.

    Args:
        classifier: Of the specialist with its trained classifier, if it uses one.
        calibration: As for `open_specialist`. Evaluations are named by the version as shipped: they keep what any
            calibration can be applied to.
    """
    documents = {d.source: d.sha256 for d in knowledge.documents()} if knowledge else {}
    base = blueprint.base_of(name)
    model = bases[base].sha256("gguf") if base in bases else [blueprint.card.engine, base]
    card = blueprint.specialists[name].model_dump(exclude_defaults=True, exclude={"groups"})
    trained = classifier_in_use(blueprint, name) if classifier else None
    corrected = calibration or calibration_of(blueprint)
    more = [*([sha256(trained)] if trained else []), *([corrected.model_dump()] if corrected != AS_SHIPPED else [])]
    return fingerprint(card, blueprint.example_rows(name), documents, model, adapter_version(adapter), *more)


def engine_name(
    blueprint: Blueprint,
    name: str,
    adapter: Adapter,
    bases: Bases,
    progress: Progress = no_progress,
) -> str | None:
    """What the engine calls a specialist's adapter: here the path of what it loads, made if need be; on a server
    (no `bases`) its name there, published if need be.

    Args:
        progress: Told how far the merging is, for a card with `model.merged`.

    Raises:
        ConfigError: it is none that the server could run.
    """
    if blueprint.published and isinstance(adapter, Path):
        return publish(adapter, blueprint.published)
    merged = blueprint.specialists[name].model.merged
    told, base = part_of(progress, name), bases.get(blueprint.base_of(name))
    known = loadable(adapter, base, blueprint.card.engine, merged=merged, progress=told) if base else adapter
    return str(known) if known else None


class BuildRecord(Value):
    """What a build was made of; kept as `.metier/build.json`, which is written last."""

    cards: str
    """Fingerprint of all cards and example files."""
    router: str
    """Fingerprint of all that the router was fitted on."""
    versions: dict[str, str]
    """Specialist to version, as `version_of`."""

    @classmethod
    def read(cls, state: Path) -> BuildRecord | None:
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


def knowledge_folder(blueprint: Blueprint, name: str) -> Path:
    """Where the index of a specialist is kept."""
    return blueprint.state / "knowledge" / name


def open_knowledge(blueprint: Blueprint, name: str, embedder: Embedder) -> Knowledge:
    """The index of a specialist, as it was built.

    Raises:
        KnowledgeError: there is none, or it is damaged.
    """
    card = blueprint.specialists[name].knowledge or KnowledgeCard()
    return Knowledge.open(knowledge_folder(blueprint, name), embedder, root=blueprint.root, rerank=card.rerank)


def decisions(blueprint: Blueprint) -> DecisionLog:
    """Where the team's routes, and what people said of them, are kept."""
    return DecisionLog(blueprint.state / "decisions.jsonl")


def find_bases(blueprint: Blueprint, store: ModelStore) -> dict[str, LocalModel]:
    """The bases of a team on this machine; none when a server runs them.

    Raises:
        ModelNotPulled, UnknownModel: one of them is not here.
    """
    return {} if blueprint.card.served else {name: store.find(name) for name in blueprint.bases}


class Comparison(Value):
    """Why a specialist uses its trained classifier, or its model."""

    made_of: str
    head: float
    """Share of the examples that classifiers got right which had not learnt them (five-fold)."""
    model: float
    """Share of some of them that the language model with its adapter got right."""

    @classmethod
    def read(cls, plan: Blueprint, name: str) -> Comparison | None:
        """What the last build found; None where it compared nothing."""
        path = comparison_path(plan, name)
        return cls.model_validate_json(path.read_bytes()) if path.is_file() else None


def classifier_in_use(plan: Blueprint, name: str) -> Path | None:
    """The classifier that a specialist uses; None where it has none or the model does better."""
    path, comparison = classifier_path(plan, name), Comparison.read(plan, name)
    return path if comparison and comparison.head > comparison.model and path.is_file() else None


def classifier_path(plan: Blueprint, name: str) -> Path:
    """Where a build keeps a specialist's trained classifier."""
    return plan.state / "heads" / f"{name}.npz"


def comparison_path(plan: Blueprint, name: str) -> Path:
    """Where a build keeps how that classifier compares with the model."""
    return plan.state / "heads" / f"{name}.json"


class OwnConfidence(Value):
    """A team's correction of the shipped confidence, and what it was found to be worth; `.metier/confidence.json`."""

    corrects: str
    """Fingerprint of what it was fitted on top of: the shipped models for the team's bases, and the embedder."""
    calibration: PlattScaling
    answers: int
    """How many it was fitted to."""
    log_loss: tuple[float, float]
    """As shipped, and corrected by what was fitted to other answers (out of fold), in nats."""
    ece: tuple[float, float]
    """The same for the expected calibration error."""

    @classmethod
    def read(cls, plan: Blueprint) -> OwnConfidence | None:
        """What the last build found; None where there is nothing, or what it corrected is not in use any more.

        Raises:
            StateError: the file cannot be read.
        """
        path = own_confidence_path(plan)
        if not path.is_file():
            return None
        try:
            kept = cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            hint = f"metier build -t {plan.root}"
            raise StateError(f"{path} is damaged: {error.errors()[0]['msg']}", hint=hint) from error
        return kept if kept.corrects == shipped_confidence(plan) else None


def own_confidence_path(plan: Blueprint) -> Path:
    """Where a build keeps the team's correction of the confidence."""
    return plan.state / "confidence.json"


def shipped_confidence(plan: Blueprint) -> str:
    """Fingerprint of the confidence of a team without a correction of its own."""
    shipped = {base: fitted_for(base).model_dump(exclude={"made_by"}) for base in plan.bases}
    return fingerprint(shipped, plan.card.embedder)


def calibration_of(plan: Blueprint) -> PlattScaling:
    """How the team corrects the shipped confidence.

    Raises:
        StateError: the file of the build is damaged.
    """
    own = OwnConfidence.read(plan)
    return own.calibration if own else AS_SHIPPED
