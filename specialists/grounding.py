"""Which words of a source support an answer: the citation of answers in free wording, and the measure behind it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from ..core.types import Citation, Passage
from .knowledge.citation import cite

_WORD = re.compile(r"[^\W_]+(?:[-.][^\W_]+)*")


_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]?")


_COMMON = frozenset(
    (
        "a about all also an and any are as at be been before by can could did do does for from get give go had "
        "has have how i if in into is it its just like made make many may me more most much must my need needs no "
        "not of off on one or our out over please shall should so some such take tell than that the their them "
        "then there these they this those to too under up us use used was we were what when where which while who "
        "whom whose why will with would you your "
    ).split()
)


def content_words(text: str) -> list[str]:
    """The words that carry meaning, in lower case, in order; codes such as `p-101` stay whole.

    >>> content_words("How often is the pump P-101 greased?")
    ['often', 'pump', 'p-101', 'greased']
    """
    return [w for w in (m[0].lower() for m in _WORD.finditer(text)) if w not in _COMMON]


def codes(text: str) -> set[str]:
    """Names of parts, machines and alarms: words with letters and digits.

    >>> codes("FL-2 shows F-112 again")  == {"fl-2", "f-112"}
    True
    """
    return {w for w in content_words(text) if any(c.isdigit() for c in w) and any(c.isalpha() for c in w)}


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A crude common form, so that `greased`, `greasing` and `grease` meet. Codes with digits stay as they are."""
    if any(c.isdigit() for c in word):
        return word
    for ending in ("ings", "ing", "ies", "ied", "es", "ed", "ly", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def coverage(words: Iterable[str], text: str) -> float:
    """Share of the words (0 to 1) that occur in the text, by their stems. No words: 1."""
    asked = {stem(w) for w in words}
    if not asked:
        return 1.0
    present = {stem(w) for w in content_words(text)}
    return len(asked & present) / len(asked)


def sentences(text: str) -> list[str]:
    """Sentences and lines, trimmed."""
    return [s for s in (m[0].strip() for m in _SENTENCE.finditer(text)) if s]


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
    start, end = citation.start - passage.start, citation.end - passage.start
    spans = [m.span() for m in _SENTENCE.finditer(passage.text)]
    touched = [span for span in spans if span[0] < end and span[1] > start]
    if not touched:
        return citation
    return citation.model_copy(update={"context": passage.text[touched[0][0] : touched[-1][1]].strip()})


# What of the passages a model sees. Words decide which row of a table, the model what in it is the answer.


ROWS = 3
"""Rows of one passage that the model sees. More only cost time and mislead: a small model loses its place in tables."""


NEAR = 0.7
"""A row with less than this share of the best row's score is not shown."""


def in_view(task: str, passages: Sequence[Passage], earlier: str = "") -> list[str]:
    """The passages as the model sees them: tables cut down (`focus`), and when the task names a code (`F-112`; names
    from headings do not count), only those that hold it."""
    machines = codes(" ".join(word for p in passages for word in (*p.heading, p.source)))
    named = codes(task) - machines
    held = [len(named & set(content_words(p.text))) for p in passages]
    most = max(held, default=0)
    shown = [p.text for p, count in zip(passages, held, strict=True) if count == most]
    return focus(task, shown, earlier)


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
    held = [_stems(row) for row in rows]
    seen = Counter(word for words in held for word in words)
    weights = {word: math.log(1 + len(rows) / count) for word, count in seen.items()}
    asked, before = _stems(task), _stems(earlier)

    def score(row: str) -> float:
        words = _stems(row)
        # Exact sums: sets have another order in each process, and a tie must fall the same way in all.
        return math.fsum(weights[w] * (1 if w in asked else 0.5) for w in words & (asked | before))

    return [_best(table, score) if table else text for text, table in zip(texts, tables, strict=True)]


def _best(rows: list[str], score: Callable[[str], float]) -> str:
    scores = [score(row) for row in rows]
    least = NEAR * max(scores)
    ranked = sorted(range(len(rows)), key=lambda i: -scores[i])[:ROWS]
    return "\n".join(rows[i] for i in sorted(ranked) if scores[i] >= least)


def _rows(text: str) -> list[str] | None:
    """The lines of a text that is a table, None for prose."""
    lines = [line for line in text.split("\n") if line.strip()]
    fields = sum(": " in line and "; " in line for line in lines)
    return lines if len(lines) > ROWS and fields > len(lines) / 2 else None


def _stems(text: str) -> set[str]:
    return {stem(word) for word in content_words(text)}
