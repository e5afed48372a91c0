"""What the team forgets by itself: whatever people said that is older than `retention` in team.yaml allows.

As in `erasure`, every place that keeps something of a person is known here; facts have a term of their own
(`memory.facts_days`). Other processes may use the team meanwhile.
"""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime

from pydantic import ConfigDict

from ..core.types import Value
from ..memory.open import open_records
from .answer_log import log_kind
from .assemble import decisions
from .attachments import Attachments
from .build import build
from .cards import Blueprint
from .feedback import open_inbox
from .threads import open_threads

_DAY = 86_400.0


class Forgotten(Value):
    """How much was forgotten, or would be."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    threads: int = 0
    """Conversations, and files that belong to none."""
    decisions: int = 0
    answers: int = 0
    """Lines about how sure answers were."""
    notes: int = 0
    traces: int = 0
    router_fitted: bool = False
    """The router had learnt from a decision and was fitted again."""


def retain(plan: Blueprint, *, dry: bool = False, now: float | None = None) -> Forgotten:
    """Forget what is older than the card says.

    Args:
        plan: The team.
        dry: Only count.
        now: Seconds since 1970; left out: the present.

    Raises:
        StateError: a store cannot be opened, or a conversation is at work.
    """
    card, now = plan.card.retention, time.time() if now is None else now

    def before(days: float | None) -> float:
        return 0.0 if days is None else now - days * _DAY

    threads = _threads(plan, before(card.threads), dry) if card.threads else 0
    lines, corrections = _decisions(plan, before(card.logs), dry) if card.logs else (0, 0)
    answers, traces = _records(plan, before(card.logs), before(card.traces), dry)
    notes = _notes(plan, before(card.feedback), dry) if card.feedback else 0
    if corrections and not dry:
        build(plan)
    return Forgotten(
        threads=threads,
        decisions=lines,
        answers=answers,
        notes=notes,
        traces=traces,
        router_fitted=bool(corrections),
    )


def _threads(plan: Blueprint, before: float, dry: bool) -> int:
    files = Attachments(plan)
    with closing(open_threads(plan)) as threads:
        known = threads.list() if threads.saver else []
        old = [thread.id for thread in known if _seconds(thread.at) < before]
        there = {thread.id for thread in known}
        orphans = [t for t, _ in files.threads() if t not in there and files.changed(t) < before]
        single = threads.last_single()
        alone = single is not None and _seconds(single.at) < before
        if not dry:
            for thread in old:
                threads.delete(thread)
            for thread in orphans:
                files.erase(thread)
            if alone:
                threads.forget_single()
    return len(old) + len(orphans) + alone


def _decisions(plan: Blueprint, before: float, dry: bool) -> tuple[int, int]:
    """Lines that go, and how many of them the router had learnt from."""
    log = decisions(plan)
    if dry:
        return sum(_seconds(line.time) < before for line in log.decisions()), 0
    return log.forget(lambda line: _seconds(line.time) < before)


def _records(plan: Blueprint, logs: float, traces: float, dry: bool) -> tuple[int, int]:
    kept = plan.card.memory.checkpoints
    with closing(open_records("sqlite" if kept == "none" else kept, plan.state)) as records:
        gone = records.forget_before(logs, log_kind(plan), dry=dry), records.forget_before(traces, dry=dry)
        if not dry:
            records.database.empty_log()
    return gone


def _notes(plan: Blueprint, before: float, dry: bool) -> int:
    inbox = open_inbox(plan)
    old = [note for name in plan.specialists for note in inbox.notes(name) if _seconds(note.at) < before]
    for note in () if dry else old:
        inbox.settle(note.specialist, note.id)
    return len(old)


def _seconds(moment: str) -> float:
    """ISO 8601 as seconds since 1970."""
    at = datetime.fromisoformat(moment)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
