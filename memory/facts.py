"""Long-term memory: facts and preferences of a user or a team, noted from what is said and recalled when they matter.

Nobody sees another tenant's or user's facts: each search is about one namespace, and the database compares it as a
whole. What a user says is only ever that user's; facts for everybody are added by hand, so that no user can put words
into the memory of others.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from langgraph.store.base import Item, PutOp, SearchItem, SearchOp

from ..core.embedding import Embedder
from ..core.errors import ConfigError, InputError, unknown
from .address import POSTGRES, address
from .extract import Found, Update, about, extract
from .fact import ROOT, Fact, Owner, Recalled
from .facts_postgres import PostgresFacts
from .facts_sqlite import SqliteFacts
from .quotes import Quote, quotes
from .statements import sentences
from .store import FactStore

LEAST = 0.3
"""Relevance that the best fact must have for anything to be recalled (docs/log-memory.md)."""
NEAR = 0.5
"""The others need this share of the best one's."""
K = 3
"""Facts recalled at most."""
LONGEST = 4_000
"""Characters of a turn that are read for facts: longer ones are pasted documents, not what somebody says."""
_ALL = 1_000_000


def open_facts(kind: str, folder: Path, embedder: Embedder | None = None, *, days: float | None = None) -> Facts | None:
    """The facts of a team.

    Args:
        kind: `sqlite` keeps `folder/facts.sqlite`, `postgresql://…` a table in that database, `env:NAME` reads the
            address from a variable, `none` keeps nothing.
        folder: Where the team keeps its state.
        embedder: None for what only reads, writes and deletes; recalling needs one.
        days: How long a fact is kept after it was said last; None is for ever.

    Raises:
        ConfigError: there is no such kind, or the variable is not set.
        MissingExtra: psycopg is not installed.
        StateError: the database cannot be opened.
    """
    kind = address(kind, "memory.facts")
    if kind == "none":
        return None
    if kind == "sqlite":
        database = SqliteFacts(folder / "facts.sqlite")
    elif kind.startswith(POSTGRES):
        database = PostgresFacts(kind)
    else:
        raise ConfigError(
            unknown("fact store", kind, ["sqlite", "postgresql://…", "env:NAME", "none"]), field="memory.facts"
        )
    return Facts(FactStore(database, embedder, fields=("about", "text"), ttl=None if days is None else days * 24 * 60))


class Facts:
    """What a team remembers of its users."""

    def __init__(self, store: FactStore) -> None:
        self.store = store

    def note(self, turn: str, owner: Owner, *, thread_id: str = "") -> list[Fact]:
        """Remember what a user's turn says; nothing without a user."""
        if owner.user is None:
            return []
        return self._write(extract(turn[:LONGEST]), owner, None, thread_id=thread_id, turn=turn[:LONGEST])

    def add(self, text: str, owner: Owner, specialist: str | None = None) -> Fact:
        """Add a fact by hand.

        Raises:
            InputError: there is no text, or too much of it.
        """
        if not text.strip() or len(text) > LONGEST:
            raise InputError(f"a fact has 1 to {LONGEST} characters, this has {len(text.strip())}")
        return self._write([Found(text.strip(), "added")], owner, specialist)[0]

    def of(self, owner: Owner) -> list[Fact]:
        """All facts of an owner, newest first."""
        return [_fact(item) for item in self._items(owner)]

    def owners(self) -> list[Owner]:
        """Everybody of whom something is remembered."""
        found = self.store.list_namespaces(prefix=(ROOT,), limit=_ALL)
        return list(dict.fromkeys(Owner.of(namespace)[0] for namespace in found))

    def recall(self, query: str, owner: Owner, *, k: int = K, least: float = LEAST) -> list[Recalled]:
        """The user's and everybody's facts that matter for a question, most relevant first.

        Args:
            k: At most so many.
            least: Nothing is recalled when no fact is as relevant as this.
        """
        whose = dict.fromkeys([owner, Owner(None, owner.tenant)])
        ops = [SearchOp(o.namespace(below=True), query=query, limit=k, refresh_ttl=False) for o in whose]
        found = [item for items in cast("list[list[SearchItem]]", self.store.batch(ops)) for item in items]
        best = max((item.score or 0.0 for item in found), default=0.0)
        if best < least:
            return []
        found = sorted(found, key=lambda item: -(item.score or 0.0))[:k]
        return [Recalled(_fact(item), score) for item in found if (score := item.score or 0.0) >= NEAR * best]

    def quotes(self, query: str, owner: Owner) -> list[Quote]:
        """What of the recalled facts bears on a question, word for word."""
        found = self.recall(query, owner)
        return quotes(query, found, self.store.embedder) if found and self.store.embedder else []

    def forget(self, owner: Owner, ids: Iterable[str]) -> list[Fact]:
        """Delete facts by their ids; those that there were. What was said in the same turn forgets the turn."""
        wanted, items = set(ids), self._items(owner)
        gone = [item for item in items if item.key in wanted]
        turns = {item.value["turn"] for item in gone} - {""}
        beside = [item for item in items if item.key not in wanted and item.value["turn"] in turns]
        self.store.batch(
            [
                *(PutOp(item.namespace, item.key, None) for item in gone),
                *(PutOp(i.namespace, i.key, {**i.value, "turn": ""}, ttl=self._ttl) for i in beside),
            ]
        )
        return [_fact(item) for item in gone]

    def erase(self, owner: Owner | None = None, thread_id: str | None = None) -> int:
        """Delete everything of an owner (None: everybody's) or what was said in a thread, down to the bytes."""
        if thread_id is None:
            return self.store.erase(owner.namespace(below=True) if owner else ())
        items = self._items(owner) if owner else self.store.search((ROOT,), limit=_ALL, refresh_ttl=False)
        said = [item for item in items if item.value["thread_id"] == thread_id]
        self.store.batch([PutOp(item.namespace, item.key, None) for item in said])
        self.store.database.scrub()
        return len(said)

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def _items(self, owner: Owner) -> list[SearchItem]:
        return self.store.search(owner.namespace(below=True), limit=_ALL, refresh_ttl=False)

    def _write(self, found: list[Found], owner: Owner, specialist: str | None, **origin: str) -> list[Fact]:
        """Store facts; what they repeat or replace goes out of the older ones."""
        if not found:
            return []
        namespace = owner.namespace(specialist)
        old = {item.key: item.value for item in self.store.search(namespace, limit=_ALL, refresh_ttl=False)}
        now: dict[str, dict[str, Any]] = dict(old)
        new: list[str] = []
        for text, how in found:
            update = Update(sentences(text))
            left = {key: update.of(value["text"]) for key, value in now.items()}
            now = {
                key: value if left[key] == value["text"] else _revised(value, left[key]) for key, value in now.items()
            }
            new.append(uuid4().hex[:12])
            now[new[-1]] = _revised({"how": how, "when": _now(), "thread_id": "", "turn": "", **origin}, text)
        changed = [PutOp(namespace, key, value if value["text"] else None, ttl=self._ttl)
                   for key, value in now.items() if value != old.get(key)]  # fmt: skip
        self.store.batch(changed)
        kept = [(key, now[key]) for key in new if now[key]["text"]]
        return [Fact(id=key, user=owner.user, specialist=specialist, **value) for key, value in kept]

    @property
    def _ttl(self) -> float | None:
        return (self.store.ttl_config or {}).get("default_ttl")


def _fact(item: Item) -> Fact:
    owner, specialist = Owner.of(item.namespace)
    return Fact(id=item.key, user=owner.user, specialist=specialist, **item.value)


def _revised(value: dict[str, Any], text: str) -> dict[str, Any]:
    return {**value, "text": text, "about": about(text)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
