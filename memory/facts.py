"""Long-term memory: facts and preferences of a user or a team, noted from what is said and recalled when they matter.

Nobody sees another tenant's or user's facts: each search is about one owner, and the database compares their names as a
whole. What a user says is only ever that user's; facts for everybody are added by hand, so that no user can put words
into the memory of others.

Of what is recalled, only the sentences that bear on a question are quoted: a few words to read instead of whole turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import numpy as np

from ..core.embedding import Embedder
from ..core.errors import InputError
from ..core.text import sentences, terms
from ..core.types import Value
from .fact_rules import NewFact, Supersession, about, extract_facts
from .store import Fact, FactStore, IndexedText, Owner, RecalledFact, relevance

LEAST_RELEVANCE = 0.3
"""Relevance that the best fact must have for anything to be recalled (docs/log-memory.md)."""
NEAR_BEST = 0.5
"""The others need this share of the best one's."""
RECALLED = 3
"""Facts recalled at most."""
LONGEST = 4_000
"""Characters of a turn that are read for facts: longer ones are pasted documents, not what somebody says."""
QUOTED = 4
"""Sentences that are chosen to be quoted, of all recalled facts together."""
QUOTED_AROUND = 1
"""Sentences before and after a chosen one that are quoted with it: "It was posted three days ago." says what was."""
WHOLE = 25
"""Facts of at most so many words are quoted as they are."""


class FactQuote(Value):
    """What a user said, word for word."""

    text: str
    """Neighbouring sentences; gaps are marked with `…`."""
    fact: Fact
    relevance: float
    """Of the fact, about 0 to 1."""


class Facts:
    """What a team remembers of its users."""

    def __init__(self, store: FactStore) -> None:
        self.store = store

    def note(
        self, turn: str, owner: Owner, *, thread_id: str = "", stated: Sequence[NewFact] | None = None
    ) -> list[Fact]:
        """Remember what a user's turn says; nothing without a user.

        Args:
            turn: In the user's words.
            owner: The user.
            thread_id: The conversation.
            stated: The facts in the turn, where they are known already.
        """
        if owner.user is None:
            return []
        turn = turn[:LONGEST]
        return self._write(extract_facts(turn) if stated is None else stated, owner, thread_id=thread_id, turn=turn)

    def add(self, text: str, owner: Owner, specialist: str | None = None) -> Fact:
        """Add a fact by hand.

        Raises:
            InputError: there is no text, or too much of it.
        """
        if not text.strip() or len(text) > LONGEST:
            raise InputError(f"a fact has 1 to {LONGEST} characters, this has {len(text.strip())}")
        return self._write([NewFact(text.strip(), "added")], owner, specialist)[0]

    def of(self, owner: Owner) -> list[Fact]:
        """All facts of an owner, newest first."""
        return self.store.of(owner)

    def owners(self) -> list[Owner]:
        """Everybody of whom something is remembered."""
        return self.store.owners()

    def recall(
        self, query: str, owner: Owner, *, k: int = RECALLED, least: float = LEAST_RELEVANCE
    ) -> list[RecalledFact]:
        """The user's and everybody's facts that matter for a question, most relevant first.

        Args:
            k: At most so many.
            least: Nothing is recalled when no fact is as relevant as this.
        """
        whose = dict.fromkeys([owner, Owner(None, owner.tenant)])
        candidates = [fact for each in whose for fact in self.store.search(query, each, k)]
        best = max((candidate.relevance for candidate in candidates), default=0.0)
        if best < least:
            return []
        ranked = sorted(candidates, key=lambda candidate: -candidate.relevance)[:k]
        return [candidate for candidate in ranked if candidate.relevance >= NEAR_BEST * best]

    def quotes(self, query: str, owner: Owner) -> list[FactQuote]:
        """What of the recalled facts bears on a question, word for word."""
        recalled = self.recall(query, owner)
        return quote_facts(query, recalled, self.store.embedder) if recalled and self.store.embedder else []

    def forget(self, owner: Owner, ids: Iterable[str]) -> list[Fact]:
        """Delete facts by their ids; those that there were. What was said in the same turn forgets the turn."""
        wanted, facts = set(ids), self.of(owner)
        gone = [fact for fact in facts if fact.id in wanted]
        turns = {fact.turn for fact in gone} - {""}
        beside = [fact for fact in facts if fact.id not in wanted and fact.turn in turns]
        self.store.write(owner, put=[fact.model_copy(update={"turn": ""}) for fact in beside], delete=gone)
        return gone

    def erase(self, owner: Owner | None = None, thread_id: str | None = None) -> int:
        """Delete everything of an owner (None: everybody's) or what was said in a thread, down to the bytes."""
        if thread_id is None:
            return self.store.erase(owner)
        count = 0
        for each in [owner] if owner else self.owners():
            facts = [fact for fact in self.of(each) if fact.thread_id == thread_id]
            self.store.write(each, delete=facts)
            count += len(facts)
        self.store.database.scrub()
        return count

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def _write(
        self, facts: Sequence[NewFact], owner: Owner, specialist: str | None = None, **origin: str
    ) -> list[Fact]:
        """Store facts; what they repeat or replace goes out of the older ones."""
        if not facts:
            return []
        old = {fact.id: fact for fact in self.of(owner) if fact.specialist == specialist}
        now, new = dict(old), list[str]()
        for text, how in facts:
            superseded = Supersession(sentences(text))
            now = {id: _revised(fact, superseded.rest_of(fact.text)) for id, fact in now.items()}
            fact = Fact(
                id=uuid4().hex[:12],
                text=text,
                about=about(text),
                how=how,
                when=datetime.now(UTC).isoformat(timespec="seconds"),
                user=owner.user,
                specialist=specialist,
                **origin,
            )
            now[fact.id] = fact
            new.append(fact.id)
        changed = [fact for fact in now.values() if fact != old.get(fact.id)]
        self.store.write(
            owner, put=[fact for fact in changed if fact.text], delete=[fact for fact in changed if not fact.text]
        )
        return [now[id] for id in new if now[id].text]


def _revised(fact: Fact, text: str) -> Fact:
    return fact if text == fact.text else fact.model_copy(update={"text": text, "about": about(text)})


def quote_facts(query: str, facts: Sequence[RecalledFact], embedder: Embedder) -> list[FactQuote]:
    """The sentences that answer best, in the order of their facts; facts without one of them are left out."""
    texts = [recalled.fact.text for recalled in facts]
    parts = [[text] if len(text.split()) <= WHOLE else sentences(text) for text in texts]
    best = _best_sentences(query, facts, parts, embedder)
    shown = {(row, at + step) for row, at in best for step in range(-QUOTED_AROUND, QUOTED_AROUND + 1)}
    quotes = []
    for row, (fact, score) in enumerate(facts):
        chosen = [at for at in range(len(parts[row])) if (row, at) in shown]
        if chosen:
            quotes.append(FactQuote(text=_joined(parts[row], chosen), fact=fact, relevance=score))
    return quotes


def _best_sentences(
    query: str, facts: Sequence[RecalledFact], parts: Sequence[Sequence[str]], embedder: Embedder
) -> list[tuple[int, int]]:
    """Fact and place in it of the sentences that have most to do with the question, as their facts have."""
    places = [(row, at) for row, part in enumerate(parts) for at in range(len(part))]
    texts = [parts[row][at] for row, at in places]
    query_vector, *vectors = embedder.embed([query, *texts])
    indexed = [IndexedText(vector[None, :], terms(text)) for vector, text in zip(vectors, texts, strict=True)]
    scores = relevance(query, query_vector, indexed) + np.array([facts[row].relevance for row, _ in places])
    return [places[i] for i in np.argsort(-scores, kind="stable")[:QUOTED]]


def _joined(parts: Sequence[str], chosen: Sequence[int]) -> str:
    text, last = "", chosen[0]
    for at in chosen:
        text += (" " if at == last + 1 else " … ") * bool(text) + parts[at]
        last = at
    return text
