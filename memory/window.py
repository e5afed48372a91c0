"""What of the thread matters for the task at hand: only a task that refers back gets an earlier turn with it.

The last turns are kept as they are; what leaves this window stays as a rolling summary, which quotes: of each turn its
question and the sentences of the answer that speak of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..core.text import references, refers_back, sentences, terms
from ..core.types import Turn

SUMMARY_TURNS = 50
"""Turns that the summary reaches back; older ones are forgotten."""
SUMMARY_WORDS = 40
"""Words of a turn in the summary, for the question and for the answer each."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class ContextualQuery:
    """The task, made fit for routing and search."""

    query: str
    """Self-contained: what it refers to comes first."""
    window: tuple[Turn, ...] = ()
    """The turns that it refers to; empty when it stands alone."""


def recall(task: str, turns: Sequence[Turn], *, tokens: int = 400) -> ContextualQuery:
    """Join a task that refers back with the question and answer it refers to; leave others alone.

    That is the last exchange, unless the task speaks of an earlier one: it says so ("you said earlier …"), or has a
    pronoun and shares words with an earlier exchange and none with the last.

    Args:
        task: The new task.
        turns: The thread so far, oldest first; what has left the window as `roll` shortened it.
        tokens: Words and punctuation marks that the earlier turns may have; a longer answer becomes its key sentences.
    """
    exchanges = list(_exchanges(turns))
    if not exchanges or not refers_back(task):
        return ContextualQuery(query=task)
    asked, *answers = _meant(task, exchanges)
    left = max(tokens - _count(asked.text), 0)
    window = (asked, *(_cut(answer, asked.text, left) for answer in answers))
    return ContextualQuery(query=f"{asked.text} {task}", window=window)


def roll(earlier: Sequence[Turn], leaving: Sequence[Turn]) -> list[Turn]:
    """The summary once some turns have left the window: they join it in short, and the oldest are forgotten."""
    short = [
        turn.model_copy(update={"text": key_sentences(turn.text, exchange[0].text, SUMMARY_WORDS)})
        for exchange in _exchanges(leaving)
        for turn in exchange
    ]
    kept = list(_exchanges([*earlier, *short]))[-SUMMARY_TURNS:]
    return [turn for exchange in kept for turn in exchange]


def key_sentences(text: str, question: str, words: int) -> str:
    """The sentences that share most with the question, in their order, up to about `words` words.

    >>> key_sentences("Dear all. Guests use the net Blue. Thank you.", "Which net do guests use?", 5)
    'Guests use the net Blue.'
    """
    parts = sentences(text)
    asked = set(terms(question))
    best = sorted(range(len(parts)), key=lambda i: -len(asked & set(terms(parts[i]))))
    chosen: list[int] = []
    for index in best:
        if chosen and sum(len(parts[i].split()) for i in (*chosen, index)) > words:
            break
        chosen.append(index)
    return " ".join(" ".join(parts[i] for i in sorted(chosen)).split()[:words])


def _exchanges(turns: Sequence[Turn]) -> Iterator[list[Turn]]:
    """A question with its answer, if it has one; an answer without a question has nothing to be found by."""
    for number, turn in enumerate(turns):
        if turn.role == "user":
            yield [turn, *(t for t in turns[number + 1 : number + 2] if t.role == "assistant")]


def _meant(task: str, exchanges: Sequence[list[Turn]]) -> list[Turn]:
    words = set(terms(task))
    shared = [len(words & set(terms(" ".join(t.text for t in exchange)))) for exchange in exchanges]
    best = max(range(len(exchanges)), key=lambda i: (shared[i], i))
    kinds = references(task)
    names_another = "earlier" in kinds or ("pronoun" in kinds and "ellipsis" not in kinds and not shared[-1])
    return exchanges[best if shared[best] and names_another else -1]


def _cut(answer: Turn, question: str, tokens: int) -> Turn:
    if _count(answer.text) <= tokens:
        return answer
    # A word comes with about a third of a mark.
    return answer.model_copy(update={"text": key_sentences(answer.text, question, tokens * 3 // 4)})


def _count(text: str) -> int:
    return len(_TOKEN.findall(text))
