"""Long-term memory: facts and preferences of a user or a team, noted from what is said and recalled when they matter.

Nobody sees another tenant's or user's facts: each search is about one owner, and the database compares their names as a
whole. What a user says is only ever that user's; facts for everybody are added by hand, so that no user can put words
into the memory of others.

Of what is recalled, only the sentences that bear on a question are quoted: a few words to read instead of whole turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from uuid import uuid4

import numpy as np

from ..core.embedding import Embedder
from ..core.errors import InputError
from ..core.text import savable, sentences, terms
from ..core.types import Value
from .fact_rules import NewFact, about, extract_facts
from .forgetting import forget_request
from .persons import of_another
from .secrets import holds_secret, without_secrets
from .store import Fact, FactStore, IndexedText, Owner, RecalledFact, relevance
from .supersession import Supersession, without
from .times import gone_by

LEAST_RELEVANCE = 0.3
"""Relevance that the best fact must have for anything to be recalled (docs/log-memory.md)."""
NEAR_BEST = 0.5
"""The others need this share of the best one's."""
RECALLED = 3
"""Facts recalled at most."""
_SPARE = 3
"""So many more are looked at, in case some are another person's or hold a secret."""
LONGEST = 4_000
"""Characters of a turn that are read for facts: longer ones are pasted documents, not what somebody says."""
QUOTED = 4
"""Sentences that are chosen to be quoted, of all recalled facts together."""
QUOTED_AROUND = 1
"""Sentences before and after a chosen one that are quoted with it: "It was posted three days ago." says what was."""
MEANT = 0.55
"""Relevance from which the nearest fact is what somebody asked to forget in other words."""
WHOLE = 25
"""Facts of at most so many words are quoted as they are."""


class FactQuote(Value):
    """What a user said, word for word."""

    text: str
    """Neighbouring sentences; gaps are marked with `…`."""
    fact: Fact
    relevance: float
    """Of the fact, about 0 to 1."""
    passed: bool = False
    """It told of days to come, and they are over."""


class Facts:
    """What a team remembers of its users."""

    def __init__(self, store: FactStore) -> None:
        self.store = store

    def note(
        self, turn: str, owner: Owner, *, thread_id: str = "", stated: Sequence[NewFact] | None = None
    ) -> list[Fact]:
        """Remember what a user's turn says, and forget what it asks to; nothing without a user.

        Secrets are left out, wherever they stand.

        Args:
            turn: In the user's words.
            owner: The user.
            thread_id: The conversation.
            stated: The facts in the turn, where they are known already.
        """
        if owner.user is None:
            return []
        turn = turn[:LONGEST]
        for what in forget_requests(turn):
            self.forget_about(what, owner)
        new = extract_facts(turn) if stated is None else stated
        return self._write(new, owner, thread_id=thread_id, turn=_keepable(turn))

    def add(self, text: str, owner: Owner, specialist: str | None = None) -> Fact:
        """Add a fact by hand.

        Raises:
            InputError: there is no text, or too much of it, or it gives a secret away.
        """
        text = savable(text)
        if not text.strip() or len(text) > LONGEST:
            raise InputError(f"a fact has 1 to {LONGEST} characters, this has {len(text.strip())}")
        if holds_secret(text):
            raise InputError(
                "this reads like a password, a key or another secret, which are never kept",
                hint="say where it is to be found instead",
            )
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
        owners = dict.fromkeys([owner, Owner(None, owner.tenant)])
        found = (fact for each in owners for fact in self.store.search(query, each, k + _SPARE))
        candidates = [one for each in found if (one := _sayable(query, each))]
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

    def meant(self, what: str, owner: Owner) -> dict[str, str]:
        """Which facts somebody means who asks to forget `what` (empty: all), by id, and what stays of each.

        Where no fact holds the words, it is the one that is clearly nearest in meaning.
        """
        rests = {fact.id: (fact.text, without(fact.text, what)) for fact in self.of(owner)}
        changed = {id: rest for id, (text, rest) in rests.items() if rest != text}
        if changed or not what:
            return changed
        near = [one for one in self.store.search(what, owner, 1) if one.relevance >= MEANT]
        return {one.fact.id: "" for one in near if not of_another(what, one.fact.text)}

    def forget_about(self, what: str, owner: Owner) -> int:
        """Forget what a user means by `what` (empty: everything); how many facts lost something."""
        meant, facts = self.meant(what, owner), {fact.id: fact for fact in self.of(owner)}
        turns = {facts[id].turn for id in meant} - {""}
        put = [
            _revised(fact, meant.get(fact.id, fact.text)).model_copy(update={"turn": ""})
            for fact in facts.values()
            if meant.get(fact.id, fact.turn in turns)
        ]
        self.store.write(owner, put=put, delete=[facts[id] for id, rest in meant.items() if not rest])
        return len(meant)

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


def forget_requests(turn: str) -> list[str]:
    """What a turn asks to forget; see `forget_request`."""
    return [what for sentence in sentences(turn) if (what := forget_request(sentence)) is not None]


def _keepable(turn: str) -> str:
    """A turn without secrets and without what it asks to forget."""
    if not holds_secret(turn) and not forget_requests(turn):
        return turn
    return " ".join(sentence for sentence in without_secrets(turn) if forget_request(sentence) is None)


def _sayable(query: str, found: RecalledFact) -> RecalledFact | None:
    """A fact without the secrets that an older metier noted; None where it tells of another person than is asked of."""
    fact = found.fact
    if holds_secret(fact.text):
        fact = fact.model_copy(update={"text": " ".join(without_secrets(fact.text))})
    told = [sentence for sentence in sentences(fact.text) if not of_another(query, sentence)]
    return found._replace(fact=fact) if told else None


def _revised(fact: Fact, text: str) -> Fact:
    return fact if text == fact.text else fact.model_copy(update={"text": text, "about": about(text)})


def quote_facts(
    query: str, facts: Sequence[RecalledFact], embedder: Embedder, today: date | None = None
) -> list[FactQuote]:
    """The sentences that answer best, in the order of their facts; facts without one of them are left out."""
    texts = [recalled.fact.text for recalled in facts]
    parts = [[text] if len(text.split()) <= WHOLE else sentences(text) for text in texts]
    best = _best_sentences(query, facts, parts, embedder)
    shown = {(row, at + step) for row, at in best for step in range(-QUOTED_AROUND, QUOTED_AROUND + 1)}
    quotes = []
    for row, (fact, score) in enumerate(facts):
        chosen = [at for at in range(len(parts[row])) if (row, at) in shown]
        if chosen:
            text = _joined(parts[row], chosen)
            over = gone_by(text, date.fromisoformat(fact.when[:10]), today or datetime.now(UTC).date())
            quotes.append(FactQuote(text=text, fact=fact, relevance=score, passed=over))
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
