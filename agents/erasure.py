"""What a team keeps of somebody, in all places at once: read it out, or erase it without a trace. Loads no model.

    facts.sqlite      long-term facts                    by user, or by the thread in which they were said
    threads.sqlite    conversations                      by the user who had them
    single.json       the last task outside of them      by the user who asked
    effects.sqlite    what their tasks did               by thread
    decisions.jsonl   how their tasks were routed        by user or thread
    inbox/            what was said about the answers    by thread
    requests.sqlite   what was asked over HTTP           by user or thread
                      how sure answers were, trials      by user or thread
    attachments/      files of their conversations       by user or thread

The day's use of each user is among the requests. Users, keys and the audit log of a server are no traces of that kind:
`metier users remove` takes out an account, and what was done stays on record.

A router that learnt from a correction of an erased task is fitted again without it. Facts for everybody are nobody's,
and examples that were accepted belong to the team's own files: neither is touched, unless everything is erased.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from langchain_core.messages import AnyMessage
from pydantic import Field

from ..core.errors import InputError
from ..core.sqlite import scrub
from ..core.types import Value
from ..memory.facts import Facts
from ..memory.open import open_records
from ..memory.records import RECORDS_FILE, Record
from ..memory.store import Fact, Owner
from ..router.log import LoggedDecision
from .assemble import decisions
from .attachments import Attachments
from .build import build
from .cards import Blueprint
from .feedback import Note, open_inbox
from .threads import Threads, open_threads
from .turn_memory import configured, open_turn_memory, owner_of


class Scope(NamedTuple):
    """Whose traces: of an owner, of one thread, of both together (a thread of an owner), or everybody's."""

    owner: Owner | None = None
    thread: str | None = None

    def holds(self, origin: Mapping[str, Any]) -> bool:
        """Does something of that origin (`thread_id`, `user_id`, `tenant`) belong to it?"""
        return self.owner in (None, owner_of(origin)) and self.thread in (None, origin.get("thread_id"))

    @property
    def all(self) -> bool:
        return self == Scope()


class KeptMessage(Value):
    """One turn of a conversation."""

    role: str
    text: str
    answer: dict[str, Any] | None = None
    """What is kept of an answer: specialist, citations, confidence …"""


class Conversation(Value):
    """A whole conversation."""

    id: str
    user: str | None
    tenant: str | None
    messages: tuple[KeptMessage, ...]
    earlier: tuple[KeptMessage, ...] = ()
    """What the conversation keeps in short of turns that have left it."""


class Kept(Value):
    """Everything that a team keeps of somebody."""

    facts: tuple[Fact, ...]
    threads: tuple[Conversation, ...]
    decisions: tuple[LoggedDecision, ...]
    notes: tuple[Note, ...]
    requests: tuple[dict[str, Any], ...] = ()
    """What was asked over HTTP: runs, files, batches; and what is noted of answers, for drift and trials."""
    files: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Conversation to the names of its files, which lie in the team's folder."""


class Erased(Value):
    """How much was erased."""

    facts: int
    threads: int
    decisions: int
    notes: int
    requests: int
    files: int
    """Conversations whose files were erased."""
    router_fitted: bool
    """The router had learnt from it and was fitted again."""


def export(plan: Blueprint, scope: Scope) -> Kept:
    """Everything of that scope.

    Raises:
        ConfigError: the card names no store for threads or facts.
        StateError: a store cannot be opened.
    """
    with _stores(plan) as (threads, facts):
        names = _names(threads, scope)
        return Kept(
            facts=tuple(_facts(facts, scope)) if facts else (),
            threads=(*(_conversation(threads, name) for name in names), *_single(threads, scope)),
            decisions=tuple(d for d in decisions(plan).decisions() if _about(scope, names, d.origin)),
            notes=tuple(_notes_of(plan, scope, names)),
            requests=tuple(record.body for record in _requests(plan, scope, names, erase=False)),
            files={thread: tuple(Attachments(plan).names(thread)) for thread in _with_files(plan, scope)},
        )


def erase(plan: Blueprint, scope: Scope) -> Erased:
    """Delete everything of that scope, down to the bytes in the team's files.

    Nobody may use the team meanwhile.

    Raises:
        ConfigError: the card names no store for threads or facts.
        StateError: a store cannot be opened, or another process uses it.
    """
    with_files = _with_files(plan, scope)
    for thread in with_files:
        Attachments(plan).erase(thread)
    with _stores(plan) as (threads, facts):
        names = _names(threads, scope)
        count = facts.erase(scope.owner, scope.thread) if facts else 0
        for name in names:
            threads.delete(name)
            shutil.rmtree(plan.state / "output" / name, ignore_errors=True)  # files of workflows
        if scope.all:
            threads.ledger.erase()
        if threads.saver:
            threads.saver.scrub()
            threads.ledger.database.scrub()
        if alone := _single(threads, scope):
            threads.forget_single()
        notes = _notes_of(plan, scope, names)
        lines, corrections = decisions(plan).forget(lambda line: scope.all or _about(scope, names, line.origin))
        for note in notes:
            open_inbox(plan).settle(note.specialist, note.id)
    requests = len(_requests(plan, scope, names, erase=True))
    if scope.all:
        shutil.rmtree(plan.state / "output", ignore_errors=True)
    for path in plan.state.glob("*.sqlite"):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            scrub(connection, path)
    if corrections:
        build(plan)
    return Erased(
        facts=count,
        threads=len(names) + len(alone),
        decisions=lines,
        notes=len(notes),
        requests=requests,
        files=len(with_files),
        router_fitted=bool(corrections),
    )


def scope_of(user: str | None, tenant: str | None, thread: str | None, everything: bool) -> Scope:
    """The scope that was asked for.

    Raises:
        InputError: nothing was named, or too much.
    """
    if everything == bool(user is not None or thread) or (tenant is not None and user is None):
        raise InputError(
            "say whose: a user, a thread, or everybody", hint="--user NAME (with --tenant), --thread NAME or --all"
        )
    return Scope(None if user is None else Owner(user, tenant), thread)


@contextmanager
def _stores(plan: Blueprint) -> Iterator[tuple[Threads, Facts | None]]:
    with closing(open_threads(plan)) as threads, closing(open_turn_memory(plan)) as memory:
        yield threads, memory.facts


def _names(threads: Threads, scope: Scope) -> list[str]:
    if threads.saver is None:
        return []
    owners = ((name, threads.owner(name) or Owner(None)) for name in threads.saver.thread_ids())
    return [n for n, o in owners if scope.owner in (None, o) and scope.thread in (None, n)]


def _threads(scope: Scope, names: list[str]) -> set[str]:
    return {*names, *([scope.thread] if scope.thread and scope.owner is None else [])}


def _about(scope: Scope, names: list[str], origin: Mapping[str, Any]) -> bool:
    return scope.holds(origin) or origin.get("thread_id") in names


def _requests(plan: Blueprint, scope: Scope, names: list[str], *, erase: bool) -> list[Record]:
    """What was asked over HTTP; afterwards it is gone, if it is to be erased."""
    kept = plan.card.memory.checkpoints
    if kept in ("sqlite", "none") and not (plan.state / RECORDS_FILE).exists():
        return []
    whose = [(scope.owner, None)] if scope.thread is None else [(None, n) for n in _threads(scope, names)]
    with closing(open_records("sqlite" if kept == "none" else kept, plan.state)) as records:
        found = [record for owner, thread in whose for record in records.of(owner, thread)]
        for owner, thread in whose if erase else ():
            records.erase(owner, thread)
        if erase:
            records.database.scrub()
    return found


def _with_files(plan: Blueprint, scope: Scope) -> list[str]:
    """The conversations of that scope that have files."""
    there = Attachments(plan).threads()
    return [thread for thread, owner in there if scope.holds({"thread_id": thread, **configured(owner)})]


def _facts(facts: Facts, scope: Scope) -> Iterator[Fact]:
    for owner in facts.owners():
        if scope.owner in (None, owner):
            yield from (fact for fact in facts.of(owner) if scope.thread in (None, fact.thread_id))


def _notes_of(plan: Blueprint, scope: Scope, names: list[str]) -> list[Note]:
    """What was said about the answers. Tasks outside of conversations are known by how they were routed."""
    routed = {str(d.origin.get("thread_id")) for d in decisions(plan).decisions() if scope.holds(d.origin)}
    theirs = _threads(scope, names) | routed
    notes = [note for name in plan.specialists for note in open_inbox(plan).notes(name)]
    return [note for note in notes if scope.all or note.thread_id in theirs]


def _single(threads: Threads, scope: Scope) -> list[Conversation]:
    """The last task outside of conversations, if it belongs to the scope."""
    last = threads.last_single()
    if last is None:
        return []
    owner, thread = Owner(last.user, last.tenant), last.answer.thread_id
    if not scope.holds({"thread_id": thread, **configured(owner)}):
        return []
    said = KeptMessage(role="user", text=last.task), KeptMessage(role="assistant", text=last.answer.text)
    return [Conversation(id=thread, user=last.user, tenant=last.tenant, messages=said)]


def _conversation(threads: Threads, name: str) -> Conversation:
    """All turns that are still saved: the last moment holds the latest, earlier ones those that have left it."""
    assert threads.saver is not None
    owner = threads.owner(name) or Owner(None)
    moments = list(threads.saver.list({"configurable": {"thread_id": name, "checkpoint_ns": ""}}))
    values = [moment.checkpoint["channel_values"] for moment in reversed(moments)]
    messages = {message.id: message for value in values for message in value.get("messages", [])}
    latest = values[-1] if values else {}  # it may have been deleted since it was listed
    return Conversation(
        id=name,
        user=owner.user,
        tenant=owner.tenant,
        messages=tuple(map(_message, messages.values())),
        earlier=tuple(KeptMessage(role=turn["role"], text=turn["text"]) for turn in latest.get("earlier", [])),
    )


def _message(message: AnyMessage) -> KeptMessage:
    role = "user" if message.type == "human" else "assistant"
    return KeptMessage(role=role, text=str(message.text), answer=message.response_metadata.get("metier"))
