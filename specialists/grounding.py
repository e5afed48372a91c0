"""Words that hold an answer to its passages: what of these the model sees, and which sentence supports an answer.

Words decide which row of a table is shown, the model what in it is the answer.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter

from ..core.text import codes, content_stems, content_words, coverage, rarity, sentence_spans, sentences
from ..core.types import Citation, Passage
from .knowledge.citation import cite, places_of

TABLE_ROWS = 3
"""Rows of one passage that the model sees. More only cost time and mislead: a small model loses its place in tables."""
_NEAR = 0.7
"""A row with less than this share of the best row's score is not shown."""


def supporting_sentence(answer: str, passages: Sequence[Passage], least: float = 0.5) -> Citation | None:
    """The sentence of the passages that covers most of the answer's content words; None below `least`."""
    words = content_words(answer)
    best: tuple[float, str, Passage] | None = None
    for passage in passages:
        for sentence in sentences(passage.text):
            share = coverage(words, sentence)
            if best is None or share > best[0]:
                best = (share, sentence, passage)
    if best is None or best[0] < least:
        return None
    return cite(best[1], [best[2]])


def with_context(citation: Citation, passages: Sequence[Passage]) -> Citation:
    """The citation with the sentences or lines that its quote stands in, for people who want to see more of it."""
    passage = next((p for p in passages if p.id == citation.passage), None)
    if passage is None:
        return citation
    spans = _spans(passage.text)
    first = bisect_right(spans, citation.start - passage.start, key=itemgetter(1))
    after = bisect_left(spans, citation.end - passage.start, key=itemgetter(0))
    if first >= after:
        return citation
    return citation.model_copy(update={"context": passage.text[spans[first][0] : spans[after - 1][1]]})


@lru_cache(maxsize=64)
def _spans(text: str) -> tuple[tuple[int, int], ...]:
    """Its sentences or lines. Kept, for a quote may stand in each of them."""
    return tuple(sentence_spans(text, typed=True))


Likeness = Callable[[str, Sequence[str]], Sequence[float]]
"""How near each of some texts comes to a task."""


def shared_words(task: str, texts: Sequence[str]) -> list[float]:
    """How many of the task's content words each text has, as a share."""
    words = content_words(task)
    return [coverage(words, text) for text in texts]


def cite_best(quote: str, task: str, passages: Sequence[Passage], likeness: Likeness = shared_words) -> Citation | None:
    """Of the places where a quote stands, that which suits the task best, as `best_place`."""
    return best_place(places_of(quote, passages), task, passages, likeness)


def best_place(
    places: Iterable[Citation], task: str, passages: Sequence[Passage], likeness: Likeness = shared_words
) -> Citation | None:
    """The one whose sentence or table row has most of the task's words and, below its heading, comes nearest to the
    task; the first of equals. "At least 15 minutes" may be said of the eyes and of the skin.

    Returns:
        It, with its context; None without places.
    """
    told = [with_context(place, passages) for place in places]
    if len(told) < 2:
        return told[0] if told else None
    shared = shared_words(task, [place.context for place in told])
    likely = sorted(range(len(told)), key=lambda n: -shared[n])[:_COMPARED]
    near = likeness(task, [below_heading(told[n].heading, told[n].context) for n in likely])
    return told[max(zip(likely, near, strict=True), key=lambda place: shared[place[0]] + place[1])[0]]


_COMPARED = 8
"""Places of a quote that are looked at closely."""

EVIDENCE = 3
"""Passages that are shown instead of an answer."""


def nearest_evidence(task: str, cited: Sequence[Citation], passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """What may be shown in doubt: the passages that come nearest, best first, each with its likely sentence as quote.

    Args:
        cited: What an answer that was not given rests on; its sentences are the likely ones.
    """
    places = {citation.passage: with_context(citation, passages) for citation in cited}
    best = [p for p in passages if p.id in places] + [p for p in passages if p.id not in places]
    shown: list[Citation] = []
    for passage in best[:EVIDENCE]:
        likely = places.get(passage.id)
        sentence = cite(likely.context, [passage]) if likely else supporting_sentence(task, [passage], least=0.0)
        if sentence:
            shown.append(sentence.model_copy(update={"context": passage.text}))
    return tuple(shown)


def in_view(task: str, passages: Sequence[Passage], earlier: str = "") -> list[Passage]:
    """The passages with what the model sees of their text: tables cut down (`focus`), and when the task names a code
    (`F-112`; names from headings do not count), only those that hold it."""
    machines = codes(" ".join(word for p in passages for word in (*p.heading, p.source)))
    named = codes(task) - machines
    held = [len(named & set(content_words(p.text))) for p in passages]
    most = max(held, default=0)
    shown = [p for p, count in zip(passages, held, strict=True) if count == most]
    texts = focus(task, [p.text for p in shown], earlier)
    return [p.model_copy(update={"text": text}) for p, text in zip(shown, texts, strict=True)]


def as_read(seen: Sequence[Passage], *, headings: bool) -> list[str]:
    """The passages as a prompt gives them: the text, below the heading of its section where `headings`."""
    return [below_heading(p.heading, p.text) if headings else p.text for p in seen]


def below_heading(heading: Sequence[str], text: str) -> str:
    """A text below the heading of its section, if it has one."""
    return "\n".join((*heading[-1:], text))


def focus(task: str, texts: Sequence[str], earlier: str = "") -> list[str]:
    """The texts, with tables cut down to the rows that share the rarest words with the task.

    Args:
        task: What is asked.
        texts: Passages; a table is a run of lines such as `part: P-1011; on hand: 3`. Prose stays whole.
        earlier: What was asked before, when the task refers to it; its words count half.
    """
    tables = [_rows(text) for text in texts]
    rows = [row for table in tables if table for row in table]
    if not rows:
        return list(texts)
    weights = rarity([content_stems(row) for row in rows])
    asked, before = content_stems(task), content_stems(earlier)

    def score(row: str) -> float:
        # Exact sums: sets have another order in each process, and a tie must fall the same way in all.
        return math.fsum(weights[w] * (1 if w in asked else 0.5) for w in content_stems(row) & (asked | before))

    return [_best(table, score) if table else text for text, table in zip(texts, tables, strict=True)]


def _best(rows: list[str], score: Callable[[str], float]) -> str:
    scores = [score(row) for row in rows]
    least = _NEAR * max(scores)
    ranked = sorted(range(len(rows)), key=lambda i: -scores[i])[:TABLE_ROWS]
    return "\n".join(rows[i] for i in sorted(ranked) if scores[i] >= least)


def _rows(text: str) -> list[str] | None:
    """The lines of a text that is a table, None for prose."""
    lines = [line for line in text.split("\n") if line.strip()]
    fields = sum(": " in line and "; " in line for line in lines)
    return lines if len(lines) > TABLE_ROWS and fields > len(lines) / 2 else None
