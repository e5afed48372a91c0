"""The engines of a team: one for each base that its specialists work with; the memory that they and the rest take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..core.errors import ConfigError, ModelError
from ..core.models import LocalModel, ModelStore
from ..core.settings import free_memory, secret_value
from ..specialists.adapters.publish import note_published, withdraw
from ..specialists.engines import AUTO, Engine, open_engine
from ..specialists.engines.engine import LoadsAdapters
from ..specialists.engines.memory import engine_memory
from ..specialists.engines.pool import EnginePool, Opener
from ..specialists.engines.speed import ranked_engines
from .assemble import Bases, adapter_of, knowledge_folder
from .cards import Blueprint
from .guardrails import GUARDS_EMBEDDER

Wanted = Iterable[tuple[str, str | None]]
"""Specialists, each with the adapter that it works with, as `engine_name` gives it."""


@contextmanager
def open_engines(plan: Blueprint, bases: Bases, wanted: Wanted) -> Iterator[dict[str, Engine]]:
    """Base to its engine, with the adapters that are wanted on it; closed at the end of the block.

    Where the team states its memory (`ram`) and the engines do not fit into it together, they are open in turn.

    Raises:
        ConfigError: the team does not fit into the memory that it states.
        EngineError: one cannot be opened.
        MissingExtra: it needs a library that is not installed.
    """
    adapters: dict[str, list[str]] = {}
    for specialist, adapter in wanted:
        known = adapters.setdefault(plan.base_of(specialist), [])
        if adapter and adapter not in known:
            known.append(adapter)
    openers = {base: partial(_open, plan, base, bases.get(base), names) for base, names in adapters.items()}
    with ExitStack() as stack:
        if plan.card.ram and bases:
            need = memory_need(plan, bases, {base: map(Path, names) for base, names in adapters.items()})
            need.check(plan.card.ram)
            if need.total > plan.card.ram:
                turns = {b: Opener(opener, need.engines[b], (*adapters[b],)) for b, opener in openers.items()}
                pool = stack.enter_context(closing(EnginePool(turns, plan.card.ram - sum(need.rest.values()))))
                yield pool.engines
                return
        yield {base: stack.enter_context(closing(opener())) for base, opener in openers.items()}


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


# The memory of a team, told from its files before anything is loaded.

_PROGRAM = 250_000_000
"""Bytes of Python with the libraries of a team."""
_EMBEDDER_MORE = 75_000_000
"""Bytes that an embedder takes beside what its file holds."""


@dataclass(frozen=True)
class MemoryNeed:
    """What a team is expected to take, in bytes; rather too much, for all windows count as full."""

    engines: dict[str, int]
    """By base."""
    rest: dict[str, int]
    """What it is for: the program, each embedder, the documents."""

    @property
    def total(self) -> int:
        """With the engines of all bases open."""
        return sum(self.rest.values()) + sum(self.engines.values())

    @property
    def least(self) -> int:
        """With one engine open at a time."""
        return sum(self.rest.values()) + max(self.engines.values(), default=0)

    def __str__(self) -> str:
        parts = {**self.engines, **self.rest}
        return f"{in_gb(self.total)} ({', '.join(f'{what} {in_gb(size)}' for what, size in parts.items())})"

    def check(self, ram: int) -> None:
        """Does the team fit into the memory that it states, if need be with one engine open at a time?

        Raises:
            ConfigError: it does not.
        """
        if self.least <= ram:
            return
        free, turns = free_memory(), f"`ram: {in_gb(self.least, up=True)}`"
        if len(self.engines) > 1:
            turns += f" (one base at a time) or `ram: {in_gb(self.total, up=True)}` (all at once)"
        raise ConfigError(
            f"asked for {in_gb(ram)} of memory; needs {in_gb(self.least)} with one base open, in all {self}; "
            f"available: {in_gb(free) if free is not None else 'unknown'}",
            field="ram",
            hint=f"{turns} in team.yaml, or smaller bases: metier models list",
        )


def in_gb(size: float, *, up: bool = False) -> str:
    """Bytes for people, as cards take them; rounded up where that much must suffice."""
    return f"{(math.ceil(size / 1e7) if up else round(size / 1e7)) / 100:g}GB"


def memory_need(plan: Blueprint, bases: Bases, adapters: Mapping[str, Iterable[Path]]) -> MemoryNeed:
    """What a team is expected to take.

    Args:
        adapters: Base to what is loaded with it.
    """
    engines = dict[str, int]()
    for name, paths in adapters.items():
        if base := bases.get(name):
            engine = plan.card.engine if plan.card.engine != AUTO else ranked_engines(base)[0]
            engines[name] = engine_memory(engine, base.files["gguf"], paths)
    guards = [GUARDS_EMBEDDER] if "injection" in plan.card.guardrails else []
    embedders = {name: _embedder_memory(name) for name in dict.fromkeys([plan.card.embedder, *guards])}
    documents = sum(_folder_size(knowledge_folder(plan, name)) for name in plan.specialists)
    return MemoryNeed(engines, {"program": _PROGRAM, **embedders, "documents": documents})


def team_memory(plan: Blueprint, bases: Bases) -> MemoryNeed:
    """What a team is expected to take with the adapters that are in use, and those of these bases.

    Raises:
        ConfigError, IntegrityError: an adapter is not there, or was changed.
    """
    adapters: dict[str, dict[Path, Path]] = {name: {} for name in bases}
    for name, card in plan.specialists.items():
        base, adapter = plan.base_of(name), adapter_of(plan, name)
        if base in bases and isinstance(adapter, Path):
            adapters[base][adapter] = bases[base].files["gguf"] if card.model.merged else adapter
    return memory_need(plan, bases, {name: paths.values() for name, paths in adapters.items()})


def _embedder_memory(name: str) -> int:
    try:
        files = ModelStore().find(name).files
    except ModelError:  # said when it is opened; a program may bring one of its own
        return 0
    return sum(path.stat().st_size for path in files.values()) + _EMBEDDER_MORE


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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
