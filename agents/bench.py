"""Opening a team that was built, to be evaluated."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from ..core.errors import StateError
from ..core.models import ModelStore
from ..core.onnx_embedder import load_embedder
from ..specialists.knowledge.knowledge import Knowledge
from .blueprint import Blueprint
from .builder import find_base, knowledge_folder
from .evaluation import EVALUATIONS, Bench, Progress


@contextmanager
def open_bench(
    blueprint: Blueprint,
    progress: Progress,
    *,
    store: ModelStore | None = None,
    limit: int | None = None,
    seed: int = 0,
    fresh: bool = False,
) -> Iterator[Bench]:
    """The team's documents as they were last built, and its base, unless a server runs that.

    Args:
        limit, seed: At most so many questions of each specialist, drawn with the seed.
        fresh: Forget all results, and ask again.

    Raises:
        StateError: the team is not built.
    """
    store = store or ModelStore()
    base = find_base(blueprint, store)
    if not (blueprint.state / "build.json").is_file():
        raise StateError(f"team '{blueprint.card.name}' is not built", hint=f"metier build -t {blueprint.root}")
    if fresh:
        shutil.rmtree(blueprint.state / EVALUATIONS, ignore_errors=True)
    embedder = load_embedder(blueprint.card.embedder, store)
    named = [name for name, card in blueprint.specialists.items() if card.knowledge]
    knowledge = {name: Knowledge.open(knowledge_folder(blueprint, name), embedder) for name in named}
    try:
        yield Bench(blueprint, base, embedder, knowledge, progress, limit, seed)
    finally:
        for opened in knowledge.values():
            opened.close()
