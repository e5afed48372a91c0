"""The engines of a team: one for each base that its specialists work with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from ..core.models import LocalModel
from ..core.settings import secret_value
from ..specialists.adapters.publish import note_published, withdraw
from ..specialists.engines import Engine, open_engine
from ..specialists.engines.engine import LoadsAdapters
from .assemble import Bases
from .cards import Blueprint

Wanted = Iterable[tuple[str, str | None]]
"""Specialists, each with the adapter that it works with, as `engine_name` gives it."""


@contextmanager
def open_engines(plan: Blueprint, bases: Bases, wanted: Wanted) -> Iterator[dict[str, Engine]]:
    """Base to its engine, with the adapters that are wanted on it; closed at the end of the block.

    Raises:
        EngineError: one cannot be opened.
        MissingExtra: it needs a library that is not installed.
    """
    adapters: dict[str, list[str]] = {}
    for specialist, adapter in wanted:
        known = adapters.setdefault(plan.base_of(specialist), [])
        if adapter and adapter not in known:
            known.append(adapter)
    with ExitStack() as stack:
        yield {
            base: stack.enter_context(closing(_open(plan, base, bases.get(base), names)))
            for base, names in adapters.items()
        }


def _open(plan: Blueprint, name: str, base: LocalModel | None, adapters: list[str]) -> Engine:
    server = plan.card.server
    if base is not None:
        return open_engine(plan.card.engine, base, {a: Path(a) for a in adapters}, folders=[plan.root])
    seen = Path(server.seen_as) if server.seen_as else plan.published
    key = secret_value(server.api_key, "server.api_key") if server.api_key else None
    return open_engine(
        plan.card.engine,
        server.model or name,
        {a: seen / a for a in adapters} if seen else None,
        api_key=key,
        context=server.context,
        timeout=server.timeout,
        patience=server.patience,
    )


def retire_published(plan: Blueprint, wanted: Wanted, engines: Iterable[Engine]) -> None:
    """Note what this team uses of the published adapters; what nobody does any more leaves server and folder."""
    able = [engine for engine in engines if isinstance(engine, LoadsAdapters)]
    if plan.published is None or not able:
        return
    left = note_published(plan.published, plan.card.name, sorted({name for _, name in wanted if name}))
    for engine in able:
        for name in left:
            engine.unload(name)
    withdraw(plan.published, left)
