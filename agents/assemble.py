"""A specialist's tools, as its card asks for them, within what the team allows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..core.embedding import Embedder
from ..core.errors import StateError
from ..core.files import read_jsonl, sha256
from ..core.models import LocalModel, ModelStore
from ..core.run import Progress, no_progress, part_of
from ..core.types import ToolCall, Touch, Value
from ..router.log import DecisionLog
from ..specialists.adapters.choose import Adapter, adapter_version, in_use, loadable, on_server
from ..specialists.confidence import answer_evidence
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.specialist import Specialist
from ..specialists.styles.label.classifier import LabelClassifier
from ..specialists.styles.sql.source import SqlSource
from ..tools.builtin.sql import connect
from ..tools.registry import build_tools
from ..tools.runner import Ledger, ToolRunner
from ..tools.session import SpecialistTools
from ..tools.tool import ToolContext
from .cards import Blueprint, fingerprint
from .guardrails import build_guards
from .journal import GraphJournal, ask_person, between


def open_hands(
    plan: Blueprint, name: str, knowledge: Knowledge | None, ledger: Ledger, embedder: Embedder | None = None
) -> SpecialistTools | None:
    """The hands of a specialist; None when its card names no tools.

    Raises:
        ConfigError: a tool cannot be made.
        MissingExtra: a tool whose library is not installed.
    """
    if not plan.specialists[name].tools:
        return None
    search = (lambda text: knowledge.search(text)) if knowledge else None
    context = ToolContext(plan.folders[name], plan.state / "output", search, plan.root)
    tools = build_tools(plan.specialists[name].tools, context)
    return SpecialistTools(
        tools,
        rules=plan.card.policy,
        runner=ToolRunner(tools, seconds=plan.card.budget.tool_seconds, ledger=ledger),
        journal=GraphJournal(),
        ask=ask_person if plan.card.memory.checkpoints != "none" else None,
        check=between(build_guards(plan.card.guardrails, "between", embedder, [plan.root])),
    )


# A specialist's database, as its card names it.


def open_desk(plan: Blueprint, name: str) -> SqlSource | None:
    """The database of a specialist with its solved examples; None when its card names none.

    Raises:
        ConfigError: an example file is wrong, or the environment variable holds no address.
        ToolError: there is no such database, or it is outside the team's folder.
    """
    card, folder = plan.specialists[name], plan.folders[name]
    if card.database is None:
        return None
    rows = [row for entry in card.examples if entry.endswith(".jsonl") for row in read_jsonl(folder / entry)]
    solved = [(row["input"], row["sql"]) for row in rows if isinstance(row.get("sql"), str)]
    place = card.database if card.database.startswith("env:") else os.path.relpath(folder / card.database, plan.root)
    return SqlSource(place, connect(ToolContext(plan.root), place), solved)


# Tools that look real to the model and do nothing: an evaluation must not send, write or order anything.


class DryTools:
    """A `Toolbox` whose calls are only noted."""

    touched: tuple[Touch, ...] = ()
    done: tuple[ToolCall, ...] = ()

    def __init__(self, functions: list[dict[str, Any]]) -> None:
        self.functions = functions

    def open(self, touched: Iterable[Touch] = ()) -> DryTools:
        """Nothing is ever touched."""
        return self

    def begin(self, *, untrusted: bool) -> Callable[[ToolCall], ToolCall]:
        """Every call succeeds and gives nothing."""
        return lambda call: call.model_copy(update={"result": "done"})


def dry_tools(blueprint: Blueprint, name: str) -> DryTools | None:
    """The tools of a specialist's card, as the model sees them; None when it names none.

    Raises:
        ConfigError, MissingExtra: a tool cannot be made.
    """
    card = blueprint.specialists[name]
    if not card.tools:
        return None
    context = ToolContext(blueprint.folders[name], None, (lambda _: []) if card.knowledge else None, blueprint.root)
    return DryTools(SpecialistTools(build_tools(card.tools, context)).functions)


# The second look of a router in doubt: whose documents speak of this?


LEAD = 0.05
"""By so much the best evidence must be ahead of the next, otherwise the user is asked."""


def by_evidence(specialists: Mapping[str, Specialist]) -> Callable[[str, Sequence[str]], str | None]:
    """A function `(task, candidates) -> name`; None when no candidate's documents stand out.

    Evidence is the mean of two shares: how many of the task's content words the best passage covers, and its cosine.
    """

    def look(task: str, names: Sequence[str]) -> str | None:
        found = {n: k.search(task, k=3) for n in names if (k := specialists[n].knowledge)}
        ranked = sorted(((answer_evidence(task, passages), name) for name, passages in found.items()), reverse=True)
        if len(ranked) < 2 or ranked[0][0] - ranked[1][0] < LEAD:
            return None
        return ranked[0][1]

    return look


def best_evidence(specialists: Mapping[str, Specialist]) -> Callable[[str, Sequence[str]], float]:
    """A function `(task, names) -> evidence`: how much the documents of these specialists speak of a task, 0 to 1.

    Who works without documents, with tools say, is always the one to ask: 1.
    """

    def look(task: str, names: Sequence[str]) -> float:
        knowing = [specialists[name].knowledge for name in names]
        return max((answer_evidence(task, k.search(task, k=3)) if k else 1.0 for k in knowing), default=0.0)

    return look


# The version of a specialist: one short hash of all that its answers depend on.


def adapter_of(blueprint: Blueprint, name: str) -> Adapter:
    """The adapter that a specialist works with: the registry's champion, or what its card says; on a server the latter.

    Raises:
        ConfigError: the card names neither a file nor a skill.
        IntegrityError: the champion was changed after it was made.
    """
    card, folder = blueprint.specialists[name], blueprint.folders[name]
    if blueprint.card.served:
        return on_server(card)
    return in_use(card, folder, blueprint.card.base, blueprint.registry.champion(name))


def version_of(
    blueprint: Blueprint,
    name: str,
    base: LocalModel | None,
    knowledge: Knowledge | None,
    adapter: Adapter,
    *,
    headless: bool = False,
) -> str:
    """Card, documents, base, adapter and head in 12 hex digits; stands in every answer and names its evaluation.

    Args:
        headless: Of the specialist without its label head.
    """
    documents = {d.source: d.sha256 for d in knowledge.documents()} if knowledge else {}
    model = base.sha256("gguf") if base else [blueprint.card.engine, blueprint.card.base]
    card = blueprint.specialists[name].model_dump(exclude_defaults=True)
    head = None if headless else head_file(blueprint, name)
    return fingerprint(card, documents, model, adapter_version(adapter), *([sha256(head)] if head else []))


def engine_name(
    blueprint: Blueprint,
    name: str,
    adapter: Adapter,
    base: LocalModel | None,
    progress: Progress = no_progress,
) -> str | None:
    """What the engine calls a specialist's adapter: here the path of what it loads, made if need be; on a server
    (`base` is None) its name there.

    Args:
        progress: Told how far the merging is, for a card with `model.merged`.
    """
    merged = blueprint.specialists[name].model.merged
    told = part_of(progress, name)
    known = loadable(adapter, base, blueprint.card.engine, merged=merged, progress=told) if base else adapter
    return str(known) if known else None


class BuildRecord(Value):
    """What a build was made of; kept as `.metier/build.json`, which is written last."""

    cards: str
    """Fingerprint of all cards and example files."""
    router: str
    """Fingerprint of all that the router was fitted on."""
    versions: dict[str, str]
    """Specialist to version: a fingerprint of its card, documents, base and adapter."""

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


def decisions(blueprint: Blueprint) -> DecisionLog:
    """Where the team's routes, and what people said of them, are kept."""
    return DecisionLog(blueprint.state / "decisions.jsonl")


def find_base(blueprint: Blueprint, store: ModelStore) -> LocalModel | None:
    """The team's base on this machine; None when a server runs it."""
    return None if blueprint.card.served else store.find(blueprint.card.base)


class Comparison(Value):
    """Why a specialist has a head, or has none."""

    made_of: str
    head: float
    """Share of the examples that heads got right which had not learnt them (five-fold)."""
    model: float
    """Share of (at most `ASKED` of) them that the language model with its adapter got right."""


def head_file(plan: Blueprint, name: str) -> Path | None:
    """The head that a specialist uses; None where it has none or the model does better."""
    found = head_comparison(plan, name)
    return head_path(plan, name) if found and found.head > found.model and head_path(plan, name).is_file() else None


def open_head(plan: Blueprint, name: str) -> LabelClassifier | None:
    """That head. Raises StateError when its file is damaged."""
    file = head_file(plan, name)
    return LabelClassifier.load(file) if file else None


def head_comparison(plan: Blueprint, name: str) -> Comparison | None:
    path = head_record_path(plan, name)
    return Comparison.model_validate_json(path.read_bytes()) if path.is_file() else None


def head_path(plan: Blueprint, name: str) -> Path:
    return plan.state / "heads" / f"{name}.npz"


def head_record_path(plan: Blueprint, name: str) -> Path:
    return plan.state / "heads" / f"{name}.json"
