"""What the stations of a turn do with long-term memory: recall, answer from it, note.

Whose turn it is stands in LangGraph's config: `configurable: {user_id: …, tenant: …}`. Without a user nothing is noted,
and only what was added for everybody is recalled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from langgraph.config import get_config

from ..core.embedding import Embedder
from ..core.run import Plain
from ..core.text import sentences
from ..core.types import Answer, Citation, Route
from ..memory.fact_rules import NewFact, asks, extract_facts
from ..memory.facts import LONGEST, FactQuote, Facts, forget_requests
from ..memory.forgetting import forget_request
from ..memory.open import open_facts
from ..memory.secrets import holds_secret
from ..memory.store import Owner
from ..memory.times import relative
from .cards import Blueprint

_SOURCE = "memory"
"""The source of citations from memory."""
_SURE = 0.4
"""Relevance from which a question is answered from memory that does not speak of the user ("my", "we" …)."""
_AHEAD = 0.05
"""By so much a user's own words must speak more of a question than any document, to be asked before a specialist."""
_SPOKEN_OF = 0.4
"""From this evidence on, documents speak of what a task tells: "My account is locked" is for a specialist."""
_NO_SECRETS = "This reads like a password or another secret; secrets are not kept."
_NOTHING_NOTED = "Nothing like that is noted about you."
_OVER = " (That is over.)"
_OWN = re.compile(r"\b(?:I|me|my|mine|myself|we|us|our|ours)\b", re.IGNORECASE)


def owner_of(configurable: Mapping[str, Any]) -> Owner:
    """The user and tenant of a run."""
    return Owner(configurable.get("user_id"), configurable.get("tenant"))


def configured(owner: Owner) -> dict[str, str]:
    """The entries of LangGraph's `configurable` that name an owner."""
    named = {"user_id": owner.user, "tenant": owner.tenant}
    return {name: value for name, value in named.items() if value is not None}


def origin() -> dict[str, str]:
    """Thread, user and tenant of the run that this code is part of."""
    place = get_config().get("configurable", {})
    return {name: str(place[name]) for name in ("thread_id", "user_id", "tenant") if place.get(name) is not None}


class TurnMemory:
    """Long-term memory at the team's stations; does nothing where the team keeps no facts (None)."""

    def __init__(self, facts: Facts | None) -> None:
        self.facts = facts

    def close(self) -> None:
        """Close the database."""
        if self.facts is not None:
            self.facts.close()

    def recall(self, *queries: str) -> list[Plain]:
        """What the user said that bears on a task: quotes as JSON, most relevant first.

        Args:
            queries: The task as it is, then as it may be meant; the first that finds something counts.
        """
        if self.facts is None:
            return []
        if _requests(queries[0]):
            return []
        owner = _owner()
        for query in dict.fromkeys(queries):
            if quotes := self.facts.quotes(query, owner):
                return [quote.model_dump(mode="json") for quote in quotes]
        return []

    def stated(self, task: str) -> list[Plain]:
        """The facts that a task states, as JSON."""
        return [fact._asdict() for fact in extract_facts(task[:LONGEST])] if self.facts is not None else []

    def note(self, task: str, recalled: Plain) -> None:
        """Remember what a task states."""
        if self.facts is not None:
            # A run that began in an older metier goes on without them.
            stated = recalled["stated"] if "stated" in recalled else self.stated(task)
            facts = [NewFact(**fact) for fact in stated]
            self.facts.note(task, _owner(), thread_id=origin().get("thread_id", ""), stated=facts)

    def comes_first(self, task: str, recalled: Plain, evidence: Callable[[], float]) -> bool:
        """Is a task for the memory rather than for the specialists who were chosen?

        Args:
            task: The task.
            recalled: What the station `recall` wrote.
            evidence: How much their documents speak of the task; only asked where memory has something.
        """
        if self._forgets(task):
            return True
        if _tells(task, recalled) or (_requests(task) and not _asks(task)):
            return self._notes() and evidence() < _SPOKEN_OF
        quotes = _bearing(task, recalled)
        return bool(quotes) and quotes[0].relevance >= evidence() + _AHEAD

    def answer(self, task: str, recalled: Plain, route: Route) -> Answer | None:
        """The answer of the team itself, where no specialist was asked: what was said, or what became of it."""
        if self._notes() and (told := self._told(task, recalled)):
            return Answer(text=told[0], confidence=1.0, reason=told[1], route=route)
        quotes = _bearing(task, recalled)
        return _quoting(quotes, route) if quotes else None

    def _told(self, task: str, recalled: Plain) -> tuple[str, str] | None:
        """What to say to a task that asks nothing but tells something, and why; None for others."""
        if _requests(task) and not _asks(task):
            return ("Forgotten.", "asked to forget") if self._forgets(task) else (_NOTHING_NOTED, "nothing to forget")
        if not _tells(task, recalled):
            return None
        if not holds_secret(task):
            return "Noted.", "a fact to remember, no question"
        return (f"Noted. {_NO_SECRETS}" if recalled.get("stated") else _NO_SECRETS), "secrets are not kept"

    def _forgets(self, task: str) -> bool:
        """Does a task only ask to forget, and is there something that it means?"""
        if self.facts is None or not self._notes() or _asks(task):
            return False
        return any(self.facts.meant(what, _owner()) for what in _requests(task))

    def _notes(self) -> bool:
        return self.facts is not None and _owner().user is not None


def open_turn_memory(plan: Blueprint, embedder: Embedder | None = None) -> TurnMemory:
    """The long-term memory of a team; without an embedder nothing can be recalled from it.

    Raises:
        ConfigError: `memory.facts` names no store.
        MissingExtra: PostgreSQL without the extra `postgres`.
        StateError: the store cannot be opened.
    """
    card = plan.card.memory
    return TurnMemory(open_facts(card.facts, plan.state, embedder, days=card.facts_days))


def for_specialist(facts: Sequence[Plain], specialist: str) -> tuple[str, ...]:
    """The quotes that a specialist is told: not what is over."""
    current = [quote for quote in facts if not quote.get("passed")]
    return tuple(quote["text"] for quote in current if quote["fact"]["specialist"] in (None, specialist))


def _requests(task: str) -> list[str]:
    return forget_requests(task[:LONGEST])


def _asks(task: str) -> bool:
    """Is there a question, apart from "Could you forget …?"?"""
    return any(asks(sentence) for sentence in sentences(task) if forget_request(sentence) is None)


def _tells(task: str, recalled: Plain) -> bool:
    """Does a task only state something, and ask nothing?"""
    secret = _OWN.search(task) is not None and holds_secret(task[:LONGEST])
    return (bool(recalled.get("stated")) or secret) and not _asks(task)


def _bearing(task: str, recalled: Plain) -> list[FactQuote]:
    quotes = [FactQuote.model_validate(quote) for quote in recalled["facts"]]
    return quotes if quotes and (_OWN.search(task) or quotes[0].relevance >= _SURE) else []


def _owner() -> Owner:
    return owner_of(origin())


def _quoting(quotes: Sequence[FactQuote], route: Route) -> Answer:
    return Answer(
        text="\n".join(f"{_who(quote)} “{quote.text}”{_OVER * quote.passed}" for quote in quotes),
        citations=tuple(_cited(quote) for quote in quotes),
        confidence=min(1.0, quotes[0].relevance),
        reason="from memory",
        route=route,
    )


def _who(quote: FactQuote) -> str:
    said = "It is on record" if quote.fact.user is None else "You said"
    day = date.fromisoformat(quote.fact.when[:10])
    when = f" on {day.day} {day:%B %Y}" if quote.passed or (relative(quote.text) and day != date.today()) else ""
    return f"{said}{when}:"


def _cited(quote: FactQuote) -> Citation:
    when = f"{quote.fact.how} {quote.fact.when[:10]}"
    end = len(quote.text)
    return Citation(source=_SOURCE, quote=quote.text, start=0, end=end, heading=(when,), passage=quote.fact.id)
