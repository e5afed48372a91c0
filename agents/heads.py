"""Label heads: fitted when a team is built, and used by those specialists with whom they do better than the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.embedding import Embedder
from ..core.files import write_atomic
from ..core.models import LocalModel
from ..core.types import Answer, Brief, Value
from ..specialists.adapters.choose import Adapter, adapter_version, loadable
from ..specialists.engines import open_engine
from ..specialists.head import FORM, Head, Labelled, accuracy
from ..specialists.specialist import Specialist
from .blueprint import Blueprint, fingerprint
from .feedback import answered_examples

LEAST = 20
"""Labelled examples below which there is nothing to fit."""

ASKED = 40
"""Examples that the language model is asked, for the comparison."""

Progress = Callable[[str, int, int], None]


class Comparison(Value):
    """Why a specialist has a head, or has none."""

    made_of: str
    head: float
    """Share of the examples that heads got right which had not learnt them (five-fold)."""
    model: float
    """Share of (at most `ASKED` of) them that the language model with its adapter got right."""


def fit_heads(
    plan: Blueprint,
    base: LocalModel | None,
    embedder: Embedder,
    adapter_of: Callable[[str], Adapter],
    tell: Progress,
) -> None:
    """Fit and compare the heads of all specialists that label and have examples; only where something changed.

    Args:
        base: None when a server runs the model: then nothing is compared, and there are no heads.
        adapter_of: A specialist's adapter as published.
    """
    for name, card in plan.specialists.items():
        rows = _examples(plan, name, embedder) if card.style == "label" and base else []
        if base is None or len(rows) < LEAST or len({row.answers for row in rows}) < 2:
            _file(plan, name).unlink(missing_ok=True)
            _record(plan, name).unlink(missing_ok=True)
            continue
        adapter = loadable(adapter_of(name), base, plan.card.engine)
        parts = (FORM, [(row.text, row.answers) for row in rows], card.labels, embedder.name, base.sha256("gguf"))
        made_of = fingerprint(*parts, adapter_version(adapter))
        old = _compared(plan, name)
        if old and old.made_of == made_of and _file(plan, name).is_file():
            continue
        tell(f"{name}: comparing head and model", 0, 1)
        Head.fit(rows, embedder).save(_file(plan, name))
        right = accuracy(rows, [str(number % 5) for number in range(len(rows))], embedder)
        model = _asked(plan, name, rows[:: max(1, len(rows) // ASKED)], base, adapter)
        found = Comparison(made_of=made_of, head=sum(right) / len(right), model=model)
        write_atomic(_record(plan, name), found.model_dump_json(indent=2))
        tell(f"{name}: comparing head and model", 1, 1)


def head_file(plan: Blueprint, name: str) -> Path | None:
    """The head that a specialist uses; None where it has none or the model does better."""
    found = _compared(plan, name)
    return _file(plan, name) if found and found.head > found.model and _file(plan, name).is_file() else None


def open_head(plan: Blueprint, name: str) -> Head | None:
    """That head. Raises StateError when its file is damaged."""
    file = head_file(plan, name)
    return Head.load(file) if file else None


def _asked(plan: Blueprint, name: str, rows: list[Labelled], base: LocalModel, adapter: Path | None) -> float:
    """Share of the rows that the language model labels right."""
    engine = open_engine(plan.card.engine, base, {str(adapter): adapter} if adapter else {})
    try:
        specialist = Specialist(
            plan.specialists[name], engine, adapter=str(adapter) if adapter else None, abstain_below=0.0
        )
        answers = [specialist.run(Brief(task=row.text)) for row in rows]
    finally:
        engine.close()
    pairs = zip(answers, rows, strict=True)
    return sum(isinstance(answer, Answer) and answer.text in row.answers for answer, row in pairs) / len(rows)


def _examples(plan: Blueprint, name: str, embedder: Embedder) -> list[Labelled]:
    card = plan.specialists[name]
    rows = answered_examples(plan, name, embedder)
    return [Labelled(row["input"], (row["answer"],)) for row in rows if row["answer"] in card.labels]


def _compared(plan: Blueprint, name: str) -> Comparison | None:
    path = _record(plan, name)
    return Comparison.model_validate_json(path.read_bytes()) if path.is_file() else None


def _file(plan: Blueprint, name: str) -> Path:
    return plan.state / "heads" / f"{name}.npz"


def _record(plan: Blueprint, name: str) -> Path:
    return plan.state / "heads" / f"{name}.json"
