"""What of the passages a model sees. Words decide which row of a table, the model what in it is the answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from ..core.types import Passage
from .support import codes, content_words, stem

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
